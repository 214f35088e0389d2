"""BOOTP, DHCP and PXE."""
