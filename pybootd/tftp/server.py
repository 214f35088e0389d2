"""The TFTP server: its port, and what each datagram on it asks for (RFC 1350, 1123 4.2.3)."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING

from pybootd.config.options.files import TftpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, FileProblem, Malformed, TransferRefused
from pybootd.core.loop import Loop
from pybootd.core.rate_limit import REMIND_S, RateLimit, once_per
from pybootd.files.source import FileError, FileOpener, Unavailable
from pybootd.system import sockets
from pybootd.tftp.context import TftpContext
from pybootd.tftp.proof import UnprovenBound
from pybootd.tftp.read_server import ReadServer
from pybootd.tftp.tid import TransferPorts
from pybootd.tftp.wire.packet import (
    ErrorCode,
    Opcode,
    Rrq,
    TftpPacketError,
    Wrq,
    decode,
    error_packet,
)

if TYPE_CHECKING:
    from pybootd.files.uploads import Uploads
    from pybootd.tftp.write_server import WriteServer

log = logging.getLogger(__name__)

BURST_S = 10
"""Seconds' worth of requests that may come at once: a rack that powers on behind one address."""
MAX_REQUEST_OCTETS = 2048
"""Octets that a request may have; RFC 2347 says 512."""
MAX_REQUESTS_PER_TURN = 16
"""Requests taken in one turn of the loop, so that running transfers go on between them."""
MAX_TRANSFERS = 8192
"""Transfers at a time: a flood of requests costs bounded memory."""
MIN_TRANSFERS = 16
"""Transfers at a time, however few files the process may open."""
RECEIVE_BUFFER_OCTETS = 4 << 20
_WRQ = Opcode.WRQ.to_bytes(2)
_ERROR = Opcode.ERROR.to_bytes(2)


def _count_ports(config: TftpConfig) -> int:
    """Return how many ports a transfer's is chosen from."""
    if config.port_range is None:
        return sockets.ephemeral_ports()
    first, last = config.port_range
    return last - first + 1


class TftpServer:
    """Serves files on one address and port."""

    def __init__(
        self,
        config: TftpConfig,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        files: FileOpener,
        uploads: Uploads | None = None,
    ) -> None:
        self.config = config
        self._loop = loop
        self._bus = bus
        self._uploads = uploads
        self.ports = TransferPorts(loop, config.port_range)
        self._context = TftpContext(loop, bus, self.ports, UnprovenBound(_count_ports(config)))
        self._context.offload = self._context.offload and config.offload
        self.read_server = ReadServer(
            self._context, config, clients, files, self._refuse_request, self._give_token_back
        )
        self.write_server: WriteServer | None = None
        self._request_limit = self._make_request_limit()
        self._reminder = once_per(REMIND_S)
        self._sock: socket.socket | None = None

    def open(self) -> None:
        """Bind the port. Raises BindError."""
        config = self.config
        # a transfer takes its socket, its port's other socket, and at most one file
        most = (sockets.raise_file_limit() - 64) // 3
        self.read_server.max_transfers = min(MAX_TRANSFERS, max(MIN_TRANSFERS, most))
        self._sock = sockets.udp_socket(
            config.address,
            config.port,
            what="tftp",
            option="[tftp] port" if config.port else "[tftp] address",
            receive_buffer=RECEIVE_BUFFER_OCTETS,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening().getsockname()[1])

    def start(self) -> None:
        """Take requests from now on."""
        if self._uploads is not None:
            self._uploads.remove_unfinished()
        self._loop.watch(self._listening(), self._read_requests)

    def reload(self, config: TftpConfig, files: FileOpener, uploads: Uploads | None = None) -> None:
        """Serve by another configuration from now on; transfers under way go on as they began."""
        before, self.config = self.config, config
        if config.requests != before.requests:
            self._request_limit = self._make_request_limit()
        self._uploads = uploads
        self._context.offload = sys.platform == "linux" and config.offload
        self.read_server.reload(config, files)

    def close(self) -> None:
        """End all transfers with an ERROR to the client, and give the port back."""
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._sock.close()
            self._sock = None
        if self.write_server is not None:
            self.write_server.close(self._loop.now)
        self.read_server.close(self._loop.now)
        self.ports.close()

    def _listening(self) -> socket.socket:
        if self._sock is None:
            raise RuntimeError("the TFTP server is not open")
        return self._sock

    # requests

    def _read_requests(self, now: float) -> None:
        for _ in range(MAX_REQUESTS_PER_TURN):
            arrival = sockets.receive(self._listening(), MAX_REQUEST_OCTETS + 1)
            if arrival is None:
                return
            self._handle_request(arrival, now)

    def _handle_request(self, arrival: sockets.ReceivedDatagram, now: float) -> None:
        # RFC 1123 4.2.3.4: a request sent to a broadcast address is ignored silently
        if arrival.destination != arrival.local:
            log.debug("tftp %s: sent to %s", arrival.address, arrival.destination)
            return
        if self._request_limit is not None and not self._request_limit.take_token(
            arrival.address, now
        ):
            self._warn_of_too_many(arrival.address, now)
            return
        try:
            if len(arrival.data) > MAX_REQUEST_OCTETS:
                raise TftpPacketError("longer than any request")
            packet = decode(arrival.data)
        except TftpPacketError as error:
            self._bus.publish(Malformed("tftp", arrival.address, str(error)))
            self._send_error(arrival, ErrorCode.ILLEGAL_OPERATION, str(error))
            return
        if isinstance(packet, Rrq):
            self.read_server.begin_download(packet, arrival, now)
        elif isinstance(packet, Wrq):
            self._begin_upload(packet, arrival, now)
        else:
            what = f"{type(packet).__name__.upper()} is not a request"
            self._send_error(arrival, ErrorCode.ILLEGAL_OPERATION, what)

    def _begin_upload(self, packet: Wrq, arrival: sockets.ReceivedDatagram, now: float) -> None:
        if self._uploads is None:
            why = "writes are refused"
            problem = FileProblem.UPLOADS_REFUSED
            self._refuse_request(arrival, packet.name, ErrorCode.ACCESS_VIOLATION, why, problem)
            return
        if self.write_server is None:
            # its buffers are for those who need them
            from pybootd.tftp.write_server import WriteServer

            self.write_server = WriteServer(self._context, self._refuse_request)
        self.write_server.begin_upload(packet, arrival, now, self._uploads, self.config)

    # limits

    def _make_request_limit(self) -> RateLimit | None:
        """Limit requests that are never acknowledged; None: each address has any number of them.

        A request may bear a forged address, and what answers it goes to somebody who never asked.
        So requests are counted until the client has acknowledged something: its address is real.
        """
        rate = self.config.requests
        return RateLimit(rate * BURST_S, rate) if rate else None

    def _give_token_back(self, address: str) -> None:
        if self._request_limit is not None:
            self._request_limit.give_back(address)

    def _warn_of_too_many(self, address: str, now: float) -> None:
        if self._reminder.take_token(address, now):
            why = (
                f"more than {self.config.requests} requests a second without an acknowledgement: "
                "further ones are dropped"
            )
            log.warning("tftp %s: %s ([tftp] requests)", address, why)

    # refusals

    def _refuse_request(
        self,
        arrival: sockets.ReceivedDatagram,
        name: str,
        code: ErrorCode,
        why: str,
        problem: FileProblem,
        error: FileError | None = None,
    ) -> None:
        missing, unavailable = code == ErrorCode.NOT_FOUND, isinstance(error, Unavailable)
        served, upload = error.served if error else "", arrival.data[:2] == _WRQ
        peer = arrival.address
        self._bus.publish(
            TransferRefused("tftp", peer, name, why, missing, served, unavailable, upload, problem)
        )
        self._send_error(arrival, code, why)

    def _send_error(self, arrival: sockets.ReceivedDatagram, code: ErrorCode, why: str) -> None:
        """Send an ERROR, unless it would answer one (RFC 1350 7)."""
        if arrival.data[:2] == _ERROR or self._sock is None:
            return
        with contextlib.suppress(OSError, OverflowError):
            peer = (arrival.address, arrival.port)
            sockets.send(self._sock, error_packet(code, why), peer, 0, arrival.local)
