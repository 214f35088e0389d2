"""What a served file is, read off its octets."""
