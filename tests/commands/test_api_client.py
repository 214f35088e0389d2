"""What comes from the status address is checked before a command shows any of it."""

import http.client
import io
import json

import pytest

from pybootd.commands import shapes
from pybootd.commands.api_client import ApiClient, ApiCode, ApiError
from tests.fuzz.seeds import SEEDS


class Wire(http.client.HTTPConnection):
    """A connection whose other end says ``said``."""

    said = b""

    def connect(self):
        self.sock = self

    def makefile(self, *_):
        return io.BytesIO(self.said)

    def sendall(self, data):
        self.asked = data

    def settimeout(self, seconds):
        self.timeout = seconds

    def close(self):
        pass


@pytest.fixture
def daemon(monkeypatch):
    def make(said, token=""):
        monkeypatch.setattr(Wire, "said", said)
        return ApiClient("10.7.0.1", 8067, token, connect=Wire)

    return make


def answer(body, status=b"200 OK"):
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


GOOD = json.loads(SEEDS["api-answer"][0][1:])


def test_a_document_as_it_should_be(daemon):
    client = daemon(answer(json.dumps(GOOD).encode())).fetch_client("10.7.0.1")
    assert client["boots"][0]["steps"][1]["outcome"] == "done"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"HTTP/1.1 403 \x1b[31mno\r\n\r\n", ApiCode.BAD_ANSWER),
        (answer(b"\x1b[2Jno", b"404 x"), ApiCode.BAD_ANSWER),
        (answer(b'{"code": "unknown-machine"}', b"404 x"), ApiCode.UNKNOWN_MACHINE),
        (answer(b'{"code": "no-failure"}', b"404 x"), ApiCode.NO_FAILURE),
        (answer(b'{"code": "token-needed"}', b"403 x"), ApiCode.TOKEN),
        (answer(b'{"code": "too-many-viewers"}', b"403 x"), ApiCode.REFUSED),
        (answer(b'{"code": ["x"]}', b"403 x"), ApiCode.BAD_ANSWER),
        (answer(b"{"), ApiCode.BAD_ANSWER),
        (answer(b"[" * 100_000), ApiCode.BAD_ANSWER),
        (answer(b"[]"), ApiCode.BAD_ANSWER),
        (answer(b'{"version": 2}'), ApiCode.BAD_ANSWER),
        (answer(b'{"version": 1, "client": 5}'), ApiCode.BAD_ANSWER),
        (answer(json.dumps(GOOD).encode().replace(b"5.0", b"1e400")), ApiCode.BAD_ANSWER),
        (answer(json.dumps(GOOD).encode())[:-5], ApiCode.BAD_ANSWER),
        (b"\xff\xfe", ApiCode.UNREACHABLE),
        (b"", ApiCode.UNREACHABLE),
    ],
)
def test_any_other_answer_is_one_printable_line(daemon, said, code):
    with pytest.raises(ApiError) as caught:
        daemon(said).fetch_client("10.7.0.1")
    assert caught.value.finding.code == code
    assert str(caught.value).isprintable()


def test_the_part_that_is_wrong_is_named():
    steps = GOOD["client"]["boots"][0]["steps"]
    wrong = {**GOOD["client"], "boots": [{**GOOD["client"]["boots"][0], "steps": [*steps, {}]}]}
    assert shapes.find_mismatch(GOOD["client"], shapes.CLIENT) == ""
    assert shapes.find_mismatch(wrong, shapes.CLIENT) == "document.boots[0].steps[2].type"


def test_a_stream_that_breaks_off_or_talks_nonsense(daemon):
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with pytest.raises(ApiError) as caught:
        list(daemon(head + b"event: stats\n").follow_events())
    assert caught.value.finding.code == ApiCode.STOPPED
    with pytest.raises(ApiError) as caught:
        list(daemon(head + b"event: clients\ndata: [{}]\n").follow_events())
    assert caught.value.finding.code == ApiCode.BAD_ANSWER
