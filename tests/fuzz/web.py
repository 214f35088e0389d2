"""Octets of an HTTP client, in any cuts: every answer is one that a client reads."""

import h11

from pybootd.http import connection as http
from pybootd.http.connection import Connection, HttpRequest, HttpResponse, Refusal
from pybootd.http.entity import TEXT, Entity

WALL = 1_700_000_000.0
ENTITIES = (
    Entity(1000, '"tag"', 784111777, "application/efi"),
    Entity(0, '"none"', None, "application/octet-stream"),
    Entity(None, media=TEXT, still=False),
)
Answers = list[tuple[HttpRequest | Refusal, bytes]]


def http_connection(data: bytes) -> None:
    """Serve one client: the first octet chooses the file, 255 stands where the network cuts."""
    entity, pieces = ENTITIES[data[0] % 3 if data else 0], data[1:].split(b"\xff")[:30]
    pieces = [piece for piece in pieces if piece]
    http._parse_whole_request.cache_clear()
    answers = _serve(pieces, entity)
    _readable(answers)
    # nothing depends on where the network cuts, but for the words of an error: h11 sees some early
    whole = b"".join(pieces)
    for cut in ([whole] if whole else [], [whole[at : at + 1] for at in range(len(whole))]):
        assert list(map(_meaning, _serve(cut, entity))) == list(map(_meaning, answers))


def _meaning(answer: tuple[HttpRequest | Refusal, bytes]) -> object:
    asked, octets = answer
    return asked.status if isinstance(asked, Refusal) else (asked, octets)


def _serve(pieces: list[bytes], entity: Entity) -> Answers:
    """Let the connection answer as a session does, and keep what it said."""
    connection, answers = Connection(), []
    for piece in [*pieces, b""]:
        connection.receive_octets(piece)
        while (asked := connection.next_request()) is not None:
            answers.append((asked, _answer(connection, asked, entity)))
            if not connection.start_next_request():
                return answers
    assert connection.closed
    return answers


def _answer(connection: Connection, asked: HttpRequest | Refusal, entity: Entity) -> bytes:
    if isinstance(asked, Refusal):
        assert 400 <= asked.status < 600
        return connection.write_refusal(asked, WALL)
    reply = connection.write_head(asked, entity, WALL)
    _in_file(reply, entity)
    answer = reply.head
    left = 5 if reply.count is None else reply.count
    answer += connection.frame_piece(b"x" * left) if left else b""
    return answer + connection.finish_body()


def _in_file(reply: HttpResponse, entity: Entity) -> None:
    assert reply.first >= 0
    if entity.size is not None:
        assert reply.count is not None
        assert 0 <= reply.first + reply.count <= entity.size


def _readable(answers: Answers) -> None:
    """Let h11 read each answer, as the client that asked for it."""
    for asked, answer in answers:
        head = isinstance(asked, HttpRequest) and asked.head
        client = h11.Connection(h11.CLIENT)
        method = "HEAD" if head else "GET"
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        if isinstance(asked, Refusal) and answer.endswith(b"\r\n\r\n"):
            continue  # of a HEAD: the length is that of GET
        client.receive_data(answer)
        client.receive_data(b"") if b"Connection: close" in answer else None
        event = client.next_event()
        assert type(event) is h11.Response
        assert event.reason.isascii()
        while type(event) is not h11.EndOfMessage:
            event = client.next_event()
            assert event is not h11.NEED_DATA
