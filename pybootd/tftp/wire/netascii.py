"""Netascii (RFC 1350 1, RFC 764): the lines of this system as they travel, and back.

Neither direction knows blocks: a CR at a block's edge has its second octet in the next block.
"""

from __future__ import annotations


def encode_netascii(data: bytes) -> bytes:
    """Write text as it travels: LF becomes CR LF, CR becomes CR NUL. Needs no state."""
    return data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


class NetasciiDecoder:
    """Reads text that arrives in pieces: CR LF becomes LF, CR NUL becomes CR."""

    def __init__(self) -> None:
        self._held_cr = b""

    def decode_piece(self, data: bytes, *, last: bool) -> bytes:
        """Return the piece as this system has it; a CR at its end waits for what follows."""
        data = self._held_cr + data
        self._held_cr = b"\r" if data.endswith(b"\r") and not last else b""
        if self._held_cr:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")
