"""One request of a job and the answer to it: the job's side of the connection.

Whatever goes wrong, the caller can tell a whole answer from one that was cut off, and the connection is used again only
when nothing of the request is left on it.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from mlgate.adapters.runners import wire
from mlgate.adapters.runners.wire import Gone, Head, Malformed

LINGER_BYTES, LINGER_SECONDS = 16 << 20, 2.0
#: Headers that belong to one connection: none goes through.
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer",
    "transfer-encoding", "content-length", "upgrade",
})  # fmt: skip
_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
NOTHING = Head("", "/", 0, [], 0)


class Exchange:
    """One request of the job and the answer to it."""

    def __init__(self, connection: socket.socket, stream: BinaryIO, head: Head) -> None:
        self.head = head
        self.is_broken = False
        self._connection, self._stream = connection, stream
        self._keeps_alive = head.keeps_alive()
        self._is_read = head.length == 0
        self._is_answered = False

    def is_reusable(self) -> bool:
        return self._keeps_alive and self._is_read and not self.is_broken

    def body(self) -> Iterator[bytes]:
        """The request's body as it comes. Raises Malformed, Gone."""
        try:
            if self.head.header("expect").lower() == "100-continue" and self.head.length != 0:
                self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            yield from wire.body(self.head, self._stream)
        except BaseException:
            self.is_broken = True
            raise
        self._is_read = True

    def whole(self, limit: int) -> bytes:
        """The body at once. Raises Malformed, Gone."""
        found = bytearray()
        for piece in self.body():
            found += piece
            if len(found) > limit:
                raise Malformed(f"The body is larger than {limit} bytes.")
        return bytes(found)

    def drain(self) -> None:
        """Pass over a body that nobody needs. Raises Malformed, Gone."""
        self.whole(1 << 20)

    def linger(self) -> None:
        """Take a little more of what the caller is still sending, so that it comes to reading the answer."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(LINGER_SECONDS)
            left = LINGER_BYTES
            while left > 0 and (piece := self._connection.recv(wire.PIECE)):
                left -= len(piece)

    def answer(self, content: str | bytes) -> None:
        """An answer of the gateway's own, as the metadata server gives them."""
        kind = "application/json" if isinstance(content, bytes) else "application/text"
        data = content if isinstance(content, bytes) else content.encode()
        headers = [("Metadata-Flavor", "Google"), ("Content-Type", kind), ("Content-Length", str(len(data)))]
        self._head(200, "OK", headers)
        if self.head.method != "HEAD":
            self._connection.sendall(data)

    def refuse(self, status: int, message: str) -> None:
        """An error of the gateway's own, once, unless an answer has begun."""
        if self._is_answered:
            self.is_broken = True
            return
        self._keeps_alive = self._keeps_alive and self._is_read
        data = _error(status, message)
        headers = [("Content-Type", "application/json; charset=UTF-8"), ("Content-Length", str(len(data)))]
        self._head(status, http.client.responses.get(status, ""), headers)
        if self.head.method != "HEAD":
            self._connection.sendall(data)

    def pass_on(self, answer: http.client.HTTPResponse, location: Callable[[str], str]) -> None:
        """The server's answer, as it comes."""
        # names as HTTP/1.1 servers used to write them: TensorFlow looks for "Location" letter by letter
        headers = [(name.title(), value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        headers = [(name, location(value) if name == "Location" else value) for name, value in headers]
        is_empty = self.head.method == "HEAD" or answer.status in (204, 304)
        length = answer.getheader("Content-Length")
        is_chunked = length is None and not is_empty
        if length is not None:
            headers.append(("Content-Length", length))
        elif is_chunked and self.head.minor == 1:
            headers.append(("Transfer-Encoding", "chunked"))
        self._keeps_alive = self._keeps_alive and self._is_read and not (is_chunked and self.head.minor == 0)
        self._head(answer.status, answer.reason, headers)
        if is_empty:
            return
        try:
            while piece := answer.read1(wire.PIECE):
                self._connection.sendall(chunk(piece) if is_chunked and self.head.minor == 1 else piece)
            if length is not None and answer.length:
                raise Gone
        except (http.client.HTTPException, OSError):
            self.is_broken = True  # the caller must see that it is not whole
            raise Gone from None
        if is_chunked and self.head.minor == 1:
            self._connection.sendall(b"0\r\n\r\n")

    def _head(self, status: int, reason: str, headers: list[tuple[str, str]]) -> None:
        self._is_answered = True
        alive = "keep-alive" if self._keeps_alive else "close"
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
        self._connection.sendall("\r\n".join([*lines, f"Connection: {alive}", "", ""]).encode("latin-1"))


def chunk(piece: bytes) -> bytes:
    """A piece of a body as chunked coding has it."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def _error(status: int, message: str) -> bytes:
    error = {"code": status, "message": message, "status": _STATUS.get(status, "UNAVAILABLE")}
    return json.dumps({"error": error}).encode()
