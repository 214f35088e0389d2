"""Each client's boots, step by step."""
