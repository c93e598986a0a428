"""The short way of a prediction (http/protocol.py) answers as the long way does, and what is unusual goes the long way.

Requests are written byte by byte, on sockets of our own. The same request goes the long way when its body is chunked.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import OWNER, Server
from tests.http.deployed import deploy, linear, new_bucket, upload
from tests.http.people import Api

BODY = b'{"instances": [[1, 2]]}'
P = "/v1/projects/short-way"
PATH = f"{P}/models/line:predict"


@pytest.fixture(scope="module")
def api(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(server) as made:
        made.new_project("short-way")
        new_bucket(made, "short-way", "short-way-files")
        uri = upload(made, tmp_path_factory.mktemp("line"), "short-way-files", "line", linear())
        made.done(OWNER, "POST", f"{P}/models", {"name": "line"})
        assert "error" not in deploy(made, f"{P}/models/line", "v", uri)
        made.done(OWNER, "POST", PATH, json.loads(BODY))
        yield made


class Wire:
    """A connection, and what was said on it."""

    def __init__(self, api: Api) -> None:
        host, port = api.server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.bearer = api.bearers[OWNER].encode()
        self.unread = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def head(
        self, path: str = PATH, *more: bytes, length: int | None = len(BODY), bearer: bytes | None = None
    ) -> bytes:
        lines = [
            b"POST %s HTTP/1.1" % path.encode(),
            b"Host: here",
            b"Authorization: Bearer " + (self.bearer if bearer is None else bearer),
            *([b"Content-Length: %d" % length] if length is not None else []),
            *more,
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One answer; status 0 when the connection was closed instead."""
        while b"\r\n\r\n" not in self.unread:
            data = self.socket.recv(65536)
            if not data:
                return 0, {}, self.unread
            self.unread += data
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self.unread) < int(headers["content-length"]):
            data = self.socket.recv(65536)
            assert data, f"closed in the middle of an answer: {head!r} {self.unread!r}"
            self.unread += data
        size = int(headers["content-length"])
        body, self.unread = self.unread[:size], self.unread[size:]
        return int(first.split()[1]), headers, body

    def short(self, path: str, body: bytes, **options: Any) -> tuple[int, dict[str, str], bytes]:
        self.socket.sendall(self.head(path, length=len(body), **options) + body)
        return self.answer()

    def long(self, path: str, body: bytes, **options: Any) -> tuple[int, dict[str, str], bytes]:
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        self.socket.sendall(self.head(path, b"Transfer-Encoding: chunked", length=None, **options) + chunked)
        return self.answer()


SAME: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "a prediction": (PATH, BODY, {}),
    "a failure of the model": (PATH, b'{"instances": [["a"]]}', {}),
    "no JSON": (PATH, b"no", {}),
    "no token": (PATH, BODY, {"bearer": b""}),
    "an unknown token": (PATH, BODY, {"bearer": b"mlgate_nobody"}),
    "an unknown model": (f"{P}/models/none:predict", BODY, {}),
    "an unknown version": (f"{P}/models/line/versions/none:predict", BODY, {}),
    "an explanation that is not configured": (f"{P}/models/line:explain", BODY, {}),
    "a name with an encoded slash": (f"{P}/models/li%2Fne:predict", BODY, {}),
    "no such path": ("/v1/somewhere:predict", BODY, {}),
    "twice the slash": (f"/{PATH}", BODY, {}),
    "a body that is too large": (PATH, b'{"instances": [' + b" " * 1_600_000 + b"]}", {}),
}


@pytest.mark.parametrize("name", SAME)
def test_both_ways_answer_the_same(api: Api, name: str) -> None:
    path, body, options = SAME[name]
    with Wire(api) as short, Wire(api) as long:
        one, other = short.short(path, body, **options), long.long(path, body, **options)
    for _, headers, _ in (one, other):
        assert headers.pop("x-request-id")
        assert headers.pop("date")
        headers.pop("connection", None)
    assert one == other


def test_a_head_that_was_seen_before_is_read_again_where_it_differs(api: Api) -> None:
    """On one connection: the same head with bodies of several lengths, another version, path, person, and both ways."""
    few, many = BODY, b'{"instances": [[1, 2], [3, 4]]}'
    with Wire(api) as wire:
        first, other = wire.short(PATH, few)[2], wire.short(PATH, many)[2]
        assert json.loads(other)["predictions"][:1] == json.loads(first)["predictions"]
        for _ in range(3):
            assert wire.short(PATH, few)[2] == first
            assert wire.short(PATH, many)[2] == other
            assert wire.short(f"{P}/models/none:predict", few)[0] == 404
            assert wire.short(PATH, few, bearer=b"mlgate_nobody")[0] == 401
            assert wire.long(PATH, many)[2] == other
            assert wire.short(f"{P}/models/line/versions/v:predict", few)[2] == first


#: What may come in the place of a body's length, on a connection where the head is known. All but the first are wrong.
LENGTHS = (
    b"0000023",
    b"00000000000000000023",
    b"",
    b"-23",
    b"+23",
    b"2 3",
    b"x",
    b"23x",
    b"0x17",
    b"\xb2\xb3",
    b"99999999",
)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_known_head_with_a_strange_length_is_read_as_any_other(api: Api, length: bytes) -> None:
    with Wire(api) as known, Wire(api) as fresh:
        assert known.short(PATH, BODY)[0] == 200
        answers = []
        for wire in (known, fresh):
            head = wire.head(length=23).replace(b"Content-Length: 23", b"Content-Length: " + length)
            wire.socket.sendall(head + BODY)
            answers.append(wire.answer()[0])
    assert answers[0] == answers[1]


def test_a_known_head_may_come_in_pieces(api: Api) -> None:
    with Wire(api) as wire:
        first = wire.short(PATH, BODY)[2]
        request = wire.head() + BODY
        for cut in (1, 40, len(request) - len(BODY), len(request) - 1):
            wire.socket.sendall(request[:cut])
            time.sleep(0.05)
            wire.socket.sendall(request[cut:])
            assert wire.answer()[2] == first
            assert wire.short(PATH, BODY)[2] == first


def test_two_known_requests_in_one_write_are_both_answered(api: Api) -> None:
    with Wire(api) as wire:
        first = wire.short(PATH, BODY)[2]
        wire.socket.sendall((wire.head() + BODY) * 2)
        assert [wire.answer()[2], wire.answer()[2]] == [first, first]
        assert wire.short(PATH, BODY)[2] == first


def test_a_known_head_is_refused_as_soon_as_its_token_or_its_right_is_gone(api: Api) -> None:
    who = "serviceAccount:robot-one@short-way.iam.gserviceaccount.com"
    api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "robot-one"})
    model = f"{P}/models/line"
    binding = {"bindings": [{"role": "roles/ml.modelUser", "members": [who]}]}
    api.done(OWNER, "POST", f"{model}:setIamPolicy", {"policy": binding})
    bearer = api.server.token(who).encode()
    with Wire(api) as wire:
        assert wire.short(PATH, BODY, bearer=bearer)[0] == 200
        assert wire.short(PATH, BODY, bearer=bearer)[0] == 200
        api.done(OWNER, "POST", f"{model}:setIamPolicy", {"policy": {"bindings": []}})
        assert wire.short(PATH, BODY, bearer=bearer)[0] == 403
        api.done(OWNER, "POST", f"{model}:setIamPolicy", {"policy": binding})
        assert wire.short(PATH, BODY, bearer=bearer)[0] == 200
        api.done(OWNER, "POST", f"{P}/serviceAccounts/robot-one@short-way.iam.gserviceaccount.com:disable", {})
        assert wire.short(PATH, BODY, bearer=bearer)[0] == 401


def test_answers_come_in_the_order_of_the_requests(api: Api) -> None:
    """A pipeline: short, long and short requests in one write."""
    with Wire(api) as wire:
        bodies = [json.dumps({"instances": [[n, 0]]}).encode() for n in range(6)]
        sent = b""
        for n, body in enumerate(bodies):
            if n % 3 == 1:
                sent += wire.head(PATH, b"Transfer-Encoding: chunked", length=None)
                sent += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            else:
                sent += wire.head(length=len(body)) + body
        wire.socket.sendall(sent)
        answers = [round(json.loads(wire.answer()[2])["predictions"][0]) for _ in bodies]
        assert answers == [1 + 2 * n for n in range(6)]


def test_a_body_may_come_in_pieces(api: Api) -> None:
    with Wire(api) as wire:
        for _ in range(2):
            for piece in (wire.head(), BODY[:5], BODY[5:10], BODY[10:]):
                wire.socket.sendall(piece)
            assert wire.answer()[0] == 200


def test_one_connection_serves_many_requests_of_both_kinds(api: Api) -> None:
    with Wire(api) as wire:
        for n in range(20):
            ask = wire.short if n % 2 else wire.long
            assert ask(PATH, BODY)[0] == 200
            wire.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            assert wire.answer()[0] == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((b"Content-Length: %d" % len(BODY), b"Content-Length: 1"), 400),
        ((b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"), 400),
        ((b"Content-Length: +%d" % len(BODY),), 400),
        ((b"Content-Length: -1",), 400),
        ((b"Content-Length: %d" % len(BODY), b"Connection: close"), 200),
        ((b"Content-Length: %d" % len(BODY), b"Authorization: Bearer somebody-else"), 401),
    ],
    ids=["two lengths", "a length and chunks", "a sign", "a negative length", "close", "two credentials"],
)
def test_what_two_readers_could_read_differently_is_no_prediction(
    api: Api, more: tuple[bytes, ...], status: int
) -> None:
    with Wire(api) as wire:
        wire.socket.sendall(wire.head(PATH, *more, length=None) + BODY)
        assert wire.answer()[0] == status


def test_whoever_expects_to_be_told_to_go_on_is_told(api: Api) -> None:
    with Wire(api) as wire:
        wire.socket.sendall(wire.head(PATH, b"Expect: 100-continue"))
        told = wire.socket.recv(65536)
        assert told.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.unread = told.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.socket.sendall(BODY)
        assert wire.answer()[0] == 200


def test_a_caller_that_hangs_up_leaves_nothing_behind(api: Api) -> None:
    for _ in range(50):
        with Wire(api) as wire:
            wire.socket.sendall(wire.head() + BODY)
        with Wire(api) as wire:
            wire.socket.sendall(wire.head() + BODY[:5])
    with Wire(api) as wire:
        assert wire.short(PATH, BODY)[0] == 200


def test_a_revocation_counts_for_the_next_request_on_the_same_connection(api: Api) -> None:
    who = "user:brief@example.com"
    api.sign_in([who])
    bearer = api.bearers[who].encode()
    with Wire(api) as wire:
        for _ in range(5):
            assert api.bind(f"{P}/models/line", {"roles/ml.modelUser": [who]}).is_success
            assert wire.short(PATH, BODY, bearer=bearer)[0] == 200
            assert api.bind(f"{P}/models/line", {"roles/ml.modelUser": []}).is_success
            assert wire.short(PATH, BODY, bearer=bearer)[0] == 403
