"""Every option of the configuration, declared once."""
