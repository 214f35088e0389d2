"""The status page, its JSON API, metrics and live events."""
