"""Private networks, virtual machines and virtual firmware."""
