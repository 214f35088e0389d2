"""Answers beside another DHCP server, and finds out whether there is one."""
