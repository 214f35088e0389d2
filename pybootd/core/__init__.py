"""What every room uses: loop, events, clients, text and bounded collections."""
