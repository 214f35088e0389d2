"""What several daemons on one wire agree on."""
