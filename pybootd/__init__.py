"""pybootd: BOOTP, DHCP, PXE, TFTP and HTTP boot server in one small daemon."""

__version__ = "2.0.0"
