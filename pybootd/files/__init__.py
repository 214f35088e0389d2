"""What is served: names, filters and sources."""
