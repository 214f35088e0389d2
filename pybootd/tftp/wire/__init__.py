"""Packets, options and netascii: bytes to values and back."""
