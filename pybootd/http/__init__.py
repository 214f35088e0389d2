"""The HTTP file server (RFC 9110, 9112): requests, and files on their way into sockets."""
