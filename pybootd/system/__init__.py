"""What the operating system gives: sockets, interfaces, systemd, privileges."""
