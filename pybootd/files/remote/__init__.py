"""Files from web servers."""
