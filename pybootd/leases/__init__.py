"""Addresses, who has them, and where that is kept."""
