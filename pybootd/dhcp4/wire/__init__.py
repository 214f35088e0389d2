"""Packets and options: bytes to values and back."""
