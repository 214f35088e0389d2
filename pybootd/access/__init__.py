"""Who may boot."""
