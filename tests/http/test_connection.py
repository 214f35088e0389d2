"""One connection, octets in and octets out: a list of exchanges, and whatever octets there are."""

import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybootd.http.conditions import ByteRange, choose_range, parse_date
from pybootd.http.connection import MAX_HEAD_OCTETS, Connection, HttpRequest, HttpResponse, Refusal
from pybootd.http.entity import TEXT, Entity, entity_tag, media_type

WALL = 1_700_000_000.5  # Tue, 14 Nov 2023 22:13:20 GMT
NOW = b"Tue, 14 Nov 2023 22:13:20 GMT"
OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
CHANGED = 784111777  # the same moment
FILE = Entity(1000, '"tag"', CHANGED, "application/efi")
STREAM = Entity(None, media=TEXT, still=False)


def head_of(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def ask(data: bytes) -> tuple[Connection, HttpRequest | Refusal | None]:
    connection = Connection()
    connection.receive_octets(data)
    return connection, connection.next_request()


def get(
    *fields: str, method: str = "GET", target: str = "/file.efi", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: boot", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answered(data: bytes, entity: Entity = FILE) -> tuple[Connection, HttpResponse]:
    connection, asked = ask(data)
    assert isinstance(asked, HttpRequest)
    return connection, connection.write_head(asked, entity, WALL)


@dataclass
class Exchange:
    """What is asked of ``entity`` by a GET with these fields, and what comes back."""

    fields: tuple[str, ...] = ()
    status: int = 200
    first: int = 0
    count: int | None = 1000
    said: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    entity: Entity = FILE
    version: str = "1.1"


def part(first: int, count: int) -> Exchange:
    span = {"Content-Range": f"bytes {first}-{first + count - 1}/1000"}
    return Exchange((), 206, first, count, {**span, "Content-Length": str(count)})


def ranged(text: str, expected: Exchange) -> Exchange:
    return replace(expected, fields=(f"Range: {text}",))


WHOLE = Exchange(said={"Content-Length": "1000", "Content-Type": "application/efi"})
NOTHING = Exchange((), 416, 0, 0, {"Content-Range": "bytes */1000"})
UNCHANGED = Exchange((), 304, 0, 0, {"ETag": '"tag"', "Last-Modified": OLD})
FAILED = Exchange((), 412, 0, 0)

EXCHANGES = {
    "plain": WHOLE,
    "head": Exchange(method="HEAD", count=0, said=WHOLE.said),
    "head ignores a range": Exchange(
        ("Range: bytes=0-1",), method="HEAD", count=0, said=WHOLE.said
    ),
    "empty file": Exchange(entity=replace(FILE, size=0), count=0, said={"Content-Length": "0"}),
    # RFC 9110 14.1.2
    "first octets": ranged("bytes=0-99", part(0, 100)),
    "one octet": ranged("bytes=999-999", part(999, 1)),
    "from an octet on": ranged("bytes=900-", part(900, 100)),
    "last octets": ranged("bytes=-100", part(900, 100)),
    "more last octets than there are": ranged("bytes=-5000", part(0, 1000)),
    "beyond the end": ranged("bytes=990-5000", part(990, 10)),
    "unit in capitals": ranged("BYTES=0-99", part(0, 100)),
    "leading zeros": ranged("bytes=0000000000000000000000900-", part(900, 100)),
    "a huge last octet": ranged("bytes=0-" + "9" * 5000, part(0, 1000)),
    "a huge first octet": ranged("bytes=" + "9" * 5000 + "-", NOTHING),
    "behind the end": ranged("bytes=1000-", NOTHING),
    "no last octets": ranged("bytes=-0", NOTHING),
    "of an empty file": Exchange(
        ("Range: bytes=0-",), 416, 0, 0, {"Content-Range": "bytes */0"}, entity=Entity(0)
    ),
    # RFC 9110 14.2: what isn't understood is as if it weren't there; several may be refused so
    "several": ranged("bytes=0-1,5-6", WHOLE),
    "backwards": ranged("bytes=9-5", WHOLE),
    "no numbers": ranged("bytes=-", WHOLE),
    "another unit": ranged("lines=0-1", WHOLE),
    "negative": ranged("bytes=--1", WHOLE),
    "hexadecimal": ranged("bytes=0x1-0x5", WHOLE),
    "other digits": ranged("bytes=\xb2-\xb3", WHOLE),
    "sent twice": replace(WHOLE, fields=("Range: bytes=0-1", "Range: bytes=0-1")),
    "of a stream": Exchange(
        ("Range: bytes=0-1",), count=None, entity=STREAM, said={"Accept-Ranges": "none"}
    ),
    "of a stream with a size": Exchange(
        ("Range: bytes=0-1",), count=1000, entity=replace(STREAM, size=1000)
    ),
    # RFC 9110 13.1.5
    "if-range, same tag": replace(part(0, 9), fields=('If-Range: "tag"', "Range: bytes=0-8")),
    "if-range, other tag": replace(WHOLE, fields=('If-Range: "old"', "Range: bytes=0-8")),
    "if-range, weak tag": replace(WHOLE, fields=('If-Range: W/"tag"', "Range: bytes=0-8")),
    "if-range, same date": replace(part(0, 9), fields=(f"If-Range: {OLD}", "Range: bytes=0-8")),
    "if-range, later date": replace(
        WHOLE, fields=(f"If-Range: {NOW.decode()}", "Range: bytes=0-8")
    ),
    "if-range, nonsense": replace(WHOLE, fields=("If-Range: x", "Range: bytes=0-8")),
    # RFC 9110 13.1.2, 13.1.3
    "same tag": replace(UNCHANGED, fields=('If-None-Match: "tag"',)),
    "weak tag": replace(UNCHANGED, fields=('If-None-Match: W/"tag"',)),
    "one of several tags": replace(UNCHANGED, fields=('If-None-Match: "a", W/"b" ,"tag"',)),
    "tags in two fields": replace(UNCHANGED, fields=('If-None-Match: "a"', 'If-None-Match: "tag"')),
    "any tag": replace(UNCHANGED, fields=("If-None-Match: *",)),
    "other tag": replace(WHOLE, fields=('If-None-Match: "other"',)),
    "tag without quotes": replace(WHOLE, fields=("If-None-Match: tag",)),
    "same tag, HEAD": replace(UNCHANGED, fields=('If-None-Match: "tag"',), method="HEAD"),
    "same date": replace(UNCHANGED, fields=(f"If-Modified-Since: {OLD}",)),
    "later date": replace(UNCHANGED, fields=(f"If-Modified-Since: {NOW.decode()}",)),
    "earlier date": replace(WHOLE, fields=("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT",)),
    "date as RFC 850": replace(
        UNCHANGED, fields=("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT",)
    ),
    "date as asctime": replace(UNCHANGED, fields=("If-Modified-Since: Sun Nov  6 08:49:37 1994",)),
    "no date": replace(WHOLE, fields=("If-Modified-Since: yesterday",)),
    "a tag goes before a date": replace(
        WHOLE, fields=('If-None-Match: "other"', f"If-Modified-Since: {OLD}")
    ),
    "a stream has no tag": Exchange(('If-None-Match: "tag"',), count=None, entity=STREAM),
    # RFC 9110 13.1.1, 13.1.4
    "if-match": replace(WHOLE, fields=('If-Match: "a", "tag"',)),
    "if-match, any": replace(WHOLE, fields=("If-Match: *",)),
    "if-match, other": replace(FAILED, fields=('If-Match: "other"',)),
    "if-match is strong": replace(FAILED, fields=('If-Match: W/"tag"',)),
    "unmodified since": replace(WHOLE, fields=(f"If-Unmodified-Since: {OLD}",)),
    "modified since": replace(
        FAILED, fields=("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT",)
    ),
    "a condition goes before a range": replace(
        UNCHANGED, fields=('If-None-Match: "tag"', "Range: bytes=0-1")
    ),
    # framing
    "unknown size": Exchange(count=None, entity=STREAM, said={"Transfer-Encoding": "chunked"}),
    "unknown size, HTTP/1.0": Exchange(
        count=None, entity=STREAM, version="1.0", said={"Connection": "close"}
    ),
    "HTTP/1.0, kept": Exchange(
        ("Connection: Keep-Alive",),
        version="1.0",
        said={**WHOLE.said, "Connection": "keep-alive"},
    ),
    "HTTP/1.0, kept, of unknown size": Exchange(
        ("Connection: keep-alive",),
        count=None,
        entity=STREAM,
        version="1.0",
        said={"Connection": "close"},
    ),
    "HTTP/1.0, kept and closed": Exchange(
        ("Connection: keep-alive, close",), version="1.0", said={"Connection": "close"}
    ),
    "close": Exchange(("Connection: close",), said={**WHOLE.said, "Connection": "close"}),
    "HTTP/1.0": Exchange(version="1.0", said={**WHOLE.said, "Connection": "close"}),
    "a file of tomorrow": Exchange(
        entity=replace(FILE, modified=1_800_000_000), said={"Last-Modified": NOW.decode()}
    ),
    "upgrade": Exchange(("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), said=WHOLE.said),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_exchange(name: str) -> None:
    exchange = EXCHANGES[name]
    data = get(*exchange.fields, method=exchange.method, version=exchange.version)
    _, reply = answered(data, exchange.entity)
    status, said, body = head_of(reply.head)
    assert (status, reply.status, reply.first, reply.count) == (
        exchange.status,
        exchange.status,
        exchange.first,
        exchange.count,
    )
    assert exchange.said.items() <= said.items()
    assert said["Date"] == NOW.decode()
    if status in (412, 416):
        assert len(body.splitlines()) == 1
        assert len(body) == int(said["Content-Length"])
    else:
        assert not body
    if status == 304:
        assert "Content-Length" not in said


NAMES = {
    "/boot/linux": "/boot/linux",
    "/boot%2Flinux%20x?mac=%zz&a=/b": "/boot/linux x",
    "/%e4%C3%A4": "/\udce4ä",
    "/%2e%2e/x": "/../x",
    "/a%00b": "/a\0b",
    "/a%252fb": "/a%2fb",
    "//host/x": "//host/x",
    "/a+b": "/a+b",
    "http://boot/x?y": "/x",
    "HTTP://boot:80": "/",
    "https://boot/x": "/x",
    # GRUB and old clients write names as they are
    "/a b": "/a b",
    "/a  b/c d?e f": "/a  b/c d",
    " /x ": "/x",
    "/\xc3\xa4": "/\xe4",
    "/\xe4": "/\udce4",
    "http://boot/a b": "/a b",
}


@pytest.mark.parametrize("target", NAMES)
def test_name(target: str) -> None:
    assert ask(get(target=target))[1] == HttpRequest(NAMES[target])


REFUSED = {
    "no request": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.0": (get(version="3.0"), 505),
    "POST": (get("Content-Length: 3", method="POST") + b"abc", 405),
    "PUT": (get("Transfer-Encoding: chunked", method="PUT"), 405),
    "DELETE": (get(method="DELETE"), 405),
    "lower case": (get(method="get"), 405),
    "OPTIONS": (get(method="OPTIONS", target="*"), 405),
    "CONNECT": (get(method="CONNECT", target="boot:80"), 405),
    "no slash": (get(target="file.efi"), 400),
    "other scheme": (get(target="ftp://boot/x"), 400),
    "fragment": (get(target="/a#b"), 400),
    "half an escape": (get(target="/a%2"), 400),
    "no escape": (get(target="/a%zz"), 400),
    "a control character in the path": (get(target="/a\tb"), 400),
    "a blank and no version": (b"GET /a b\r\nHost: x\r\n\r\n", 400),
    "a field without a name": (get(": x"), 400),
    "a space in front of the colon": (get("Range : bytes=0-1"), 400),
    "NUL in a field": (get("X: a\0b"), 400),
    "two lengths": (get("Content-Length: 1", "Content-Length: 2"), 400),
    "a negative length": (get("Content-Length: -1"), 400),
    "an unknown coding": (get("Transfer-Encoding: gzip"), 501),
    "fields without end": (b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * MAX_HEAD_OCTETS, 431),
    "a line without end": (b"GET /" + b"x" * MAX_HEAD_OCTETS, 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, status = REFUSED[name]
    connection, refusal = ask(data)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    answer, said, body = head_of(connection.write_refusal(refusal, WALL))
    assert (answer, said["Connection"]) == (status, "close")
    assert body == refusal.reason.encode() + b"\n"
    assert ("Allow" in said) == (status == 405)
    assert b"bytearray" not in body
    assert b"b'" not in body
    assert connection.closing
    assert not connection.start_next_request()


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("before", [b"\r\n", b"\n", b"\r\n\r\n\r\n"])
def test_an_empty_line_before_a_request_is_passed_over(before: bytes, step: int) -> None:
    """RFC 9112 2.2, on a fresh connection and on one that is kept."""
    connection = Connection()
    for name in ("/1", "/2 x", "/3"):
        data = before + get(target=name)
        asked = None
        for at in range(0, len(data), step):
            assert asked is None
            connection.receive_octets(data[at : at + step])
            asked = connection.next_request()
        assert asked == HttpRequest(name)
        connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
        assert connection.start_next_request()
        assert connection.next_request() is None


def test_a_client_that_leaves_after_an_empty_line_is_gone() -> None:
    connection, asked = ask(b"\r\n")
    assert asked is None
    connection.receive_octets(b"")
    assert connection.next_request() is None
    assert connection.closed


def test_octet_by_octet_it_is_the_same() -> None:
    connection = Connection()
    *most, last = [bytes([octet]) for octet in get("Range: bytes=0-1")]
    for octet in most:
        connection.receive_octets(octet)
        assert connection.next_request() is None
    connection.receive_octets(last)
    assert connection.next_request() == HttpRequest("/file.efi", fields={"range": "bytes=0-1"})


def test_requests_that_come_at_a_stretch_are_answered_in_order() -> None:
    connection, first = ask(get(target="/1") + get(target="/2") + get(target="/3")[:-1])
    assert first == HttpRequest("/1")
    assert connection.next_request() is None  # the first isn't answered yet
    connection.write_head(HttpRequest("/1"), FILE, WALL)
    connection.count_sent(1000)
    assert connection.finish_body() == b""
    assert connection.start_next_request()
    assert connection.next_request() == HttpRequest("/2")
    connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
    assert connection.start_next_request()
    assert connection.next_request() is None
    connection.receive_octets(b"\n")
    assert connection.next_request() == HttpRequest("/3")


REPEATED = {
    **{name: data for name, (data, _) in REFUSED.items() if len(data) < 1000},
    "GET": get("Range: bytes=0-1", "If-Match: *"),
    "HEAD": get(method="HEAD"),
    "HTTP/1.0": get(version="1.0"),
    "its last": get("Connection: close"),
    "with a body": get("Content-Length: 4"),
    "with a body to come": get("Content-Length: 4") + b"\r\n\r\n",
    "two at a stretch": get(target="/1") + get(target="/2", version="1.0"),
    "blank lines first": b"\r\n\r\n" + get(),
    "blank lines behind": get() + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_came_before_is_parse_whole_request_as_before(name: str) -> None:
    """In one piece, the same once more, and octet by octet: what can be told is the same."""
    data, told = REPEATED[name], []
    asked: HttpRequest | Refusal | HTTPStatus | None
    for step in (len(data), len(data), 1):
        connection, asked = Connection(), None
        for at in range(0, len(data), step):
            connection.receive_octets(data[at : at + step])
            asked = asked or connection.next_request()
        answer = connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
        if isinstance(asked, Refusal):
            asked = asked.status  # h11's reason depends on how much it saw
        told.append(
            (
                asked,
                answer,
                connection.closing,
                connection.start_next_request(),
                connection.next_request(),
            )
        )
    assert told[0] == told[1] == told[2]


def test_requests_on_kept_connections_do_not_mix() -> None:
    first, second = Connection(), Connection()
    for at in range(3):
        for connection, name in ((first, "/1"), (second, f"/{at}")):
            connection.receive_octets(get(target=name))
            connection.receive_octets(get(target="/next")[:-1])  # it doesn't wait to be answered
            assert connection.next_request() == HttpRequest(name)
            assert connection.next_request() is None
            connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
            assert connection.start_next_request()
            assert connection.next_request() is None
            connection.receive_octets(b"\n")
            assert connection.next_request() == HttpRequest("/next")
            connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
            assert connection.start_next_request()


def test_a_get_with_a_body_is_answered_and_is_the_last() -> None:
    connection, reply = answered(get("Content-Length: 3") + b"abc" + get())
    assert head_of(reply.head)[1]["Connection"] == "close"
    connection.count_sent(1000)
    connection.finish_body()
    assert connection.closing
    assert not connection.start_next_request()


@pytest.mark.parametrize("data", [b"", b"GET /x HT", get("Content-Length: 9", method="PUT")[:-1]])
def test_a_client_that_leaves(data: bytes) -> None:
    connection = Connection()
    if data:
        connection.receive_octets(data)
    connection.receive_octets(b"")
    assert connection.next_request() is None
    assert connection.closed


def test_a_client_that_ends_its_side_is_answered() -> None:
    connection, asked = ask(get())
    connection.receive_octets(b"")
    assert isinstance(asked, HttpRequest)
    assert connection.next_request() is None
    connection.write_head(asked, replace(FILE, size=0), WALL)
    assert connection.start_next_request() or not connection.closing
    connection.next_request()
    assert connection.closed


def test_head_is_refused_without_a_body() -> None:
    connection, _ = ask(get(method="HEAD"))
    answer = connection.write_refusal(Refusal(HTTPStatus.NOT_FOUND, "no such file"), WALL)
    status, said, body = head_of(answer)
    assert (status, said["Content-Length"], body) == (404, "13", b"")


def test_grub_finds_the_length_by_its_exact_spelling() -> None:
    """GRUB 2.06, net/http.c, compares both field names letter by letter."""
    assert b"\r\nContent-Length: 1000\r\n" in answered(get())[1].head
    assert b"\r\nTransfer-Encoding: chunked\r\n" in answered(get(), STREAM)[1].head


def test_media_types() -> None:
    assert media_type("boot/x.EFI", "") == "application/efi"
    assert media_type("cd.iso", "") == "application/vnd.efi-iso"
    assert media_type("disk.img", "x.efi") == "application/vnd.efi-img"
    assert media_type("http://mirror/blob", "x.efi") == "application/efi"
    assert media_type("linux", "linux") == "application/octet-stream"


def test_entity_tags_tell_editions_apart() -> None:
    tags = {entity_tag(key) for key in ((1, 2), (1, 3), ("text", b"x"), ("text", "\udcff"))}
    assert len(tags) == 4
    assert all(re.fullmatch(r'"[0-9a-f]{18}"', tag) for tag in tags)


@given(st.text(max_size=40))
def test_no_date_is_too_odd(text: str) -> None:
    assert isinstance(parse_date(text), int | None)


@given(st.text(st.characters(max_codepoint=255), max_size=30), st.integers(0, 50))
def test_a_range_is_whole_and_inside(text: str, size: int) -> None:
    chosen = choose_range({"range": "bytes=" + text}, Entity(size), head=False)
    if chosen.status == 206:
        assert chosen.count is not None
        assert 0 <= chosen.first < chosen.first + chosen.count <= size
    elif chosen.status == 200:
        assert chosen == ByteRange(HTTPStatus.OK, 0, size)
    else:
        assert chosen == ByteRange(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


PIECES = st.sampled_from(
    [
        *(b"GET ", b"HEAD ", b"PUT ", b"/", b"/a%20b", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n"),
        *(b"\n", b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
        *(b"Range: bytes=0-1", b"Connection: close", b"Expect: 100-continue", b"\r\n\r\n", b"\0"),
        *(b"Upgrade: h2c", b'If-None-Match: "tag"', b"CONNECT x:1", b"If-Range: ", b"abc", get()),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(PIECES | st.binary(max_size=8)).map(b"".join), max_size=6))
def test_whatever_comes_every_answer_is_one_that_a_client_reads(arriving: list[bytes]) -> None:
    connection, client = Connection(), h11.Connection(h11.CLIENT)
    for data in [*filter(None, arriving), b""]:
        connection.receive_octets(data)
        while (asked := connection.next_request()) is not None:
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            client.send(h11.EndOfMessage())
            if isinstance(asked, Refusal):
                answer = connection.write_refusal(asked, WALL)
            else:
                reply = connection.write_head(replace(asked, head=False), FILE, WALL)
                answer = reply.head
                if reply.count:
                    answer += connection.frame_piece(b"x" * reply.count) + connection.finish_body()
            head = isinstance(asked, HttpRequest) and asked.head
            if not head and b"HEAD" not in b"".join(arriving):
                client.receive_data(answer)
                while type(client.next_event()) not in (h11.EndOfMessage, h11.ConnectionClosed):
                    pass
            else:
                client = h11.Connection(h11.CLIENT)
            if not connection.start_next_request():
                return
            if client.our_state is h11.DONE:
                client.start_next_cycle()
    assert connection.closed
