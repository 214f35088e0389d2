"""What a person gets to see: log, notifications."""
