"""Leases in a PostgreSQL database that several daemons share."""
