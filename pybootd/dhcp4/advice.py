"""What the configuration lacks, told once when a client shows it."""

from __future__ import annotations

from pybootd.core.events import Advice
from pybootd.dhcp4.actions import Effect, Publish
from pybootd.dhcp4.reply import ReplyBuilder
from pybootd.dhcp4.subnets import DhcpRequest
from pybootd.dhcp4.wire import pxe

_MOST = 100  # architectures told of: a flood of made-up ones ends there


class Advisor:
    """Remembers what has been told."""

    def __init__(self, replies: ReplyBuilder) -> None:
        self._replies = replies
        self._told: set[object] = set()

    def advise(self, request: DhcpRequest, own: str) -> list[Effect]:
        """Tell once for each architecture which line it lacks; ``own``: the client's own file."""
        client = request.client
        if not client.network_boot and not client.ipxe:
            return []
        key = (client.architecture, client.ipxe)
        if key in self._told or len(self._told) >= _MOST:
            return []
        text = self._replies.advice(client, own)
        if not text or pxe.is_pi(request.packet):  # a Pi asks for files of its own
            return []
        self._told.add(key)
        return [Publish(Advice(client, text))]
