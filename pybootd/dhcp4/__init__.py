"""BOOTP, DHCP and PXE over IPv4."""
