"""The log: its lines, its handlers, what is left out."""
