"""HTTP/1.1 as the gateway reads it from a job: strictly, so that no two readers can take a message for two things.

What is not plain is refused, never repaired: bare line feeds, folded headers, two lengths, another transfer coding than
`chunked`, chunk extensions, trailers. TensorFlow's uploads have chunks and a length: the chunks count, as RFC 9112 has
it, the length must agree with them, and the connection is not used again. What goes on to the server is written anew
from what was understood here, so nothing of the job's framing reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_HEAD, MAX_HEADERS, PIECE = 64 << 10, 200, 256 << 10
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,16000}) HTTP/1\.([01])\r\n")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}):[ \t]*([^\r\n\0]*?)[ \t]*\r\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Malformed(Exception):
    """The request is not what HTTP/1.1 says; the text goes to the caller and the connection is closed."""


class Gone(Exception):
    """The caller hung up in the middle of a message."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first line and headers; a body in chunks has no length that counts, at most one that was `said`."""

    method: str
    target: str
    minor: int
    headers: list[tuple[str, str]]
    length: int | None
    said: int | None = None

    def header(self, name: str) -> str:
        """The first value of a header; empty when it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    def keeps_alive(self) -> bool:
        """Whether the caller wants to send another request on this connection."""
        return self.minor == 1 and self.said is None and "close" not in self.header("connection").lower()


def read_head(stream: BinaryIO) -> Head | None:
    """The next request's head; None when the caller has no more. Raises Malformed, Gone."""
    line = stream.readline(MAX_HEAD)
    if not line:
        return None
    first = _REQUEST.fullmatch(line)
    if first is None:
        raise Malformed("The request line is not METHOD TARGET HTTP/1.1.")
    headers: list[tuple[str, str]] = []
    size = len(line)
    while (line := stream.readline(MAX_HEAD)) != b"\r\n":
        size += len(line)
        found = _HEADER.fullmatch(line)
        if not line:
            raise Gone
        if found is None or size > MAX_HEAD or len(headers) >= MAX_HEADERS:
            raise Malformed("A header is malformed, or the headers are too many.")
        headers.append((found[1].decode("ascii").lower(), found[2].decode("latin-1")))
    minor = int(first[3])
    return Head(first[1].decode(), first[2].decode(), minor, headers, *_length(headers, minor))


def _length(headers: list[tuple[str, str]], minor: int) -> tuple[int | None, int | None]:
    """The length of the body, and for a body in chunks what was said of it."""
    lengths = [value for name, value in headers if name == "content-length"]
    # `identity` says nothing and is of an older HTTP; TensorFlow sends it with empty bodies.
    codings = [value for name, value in headers if name == "transfer-encoding" and value != "identity"]
    if sum(1 for name, _ in headers if name == "host") > 1:
        raise Malformed("A request has one Host.")
    if len(lengths) > 1 or any(not _LENGTH.fullmatch(value) for value in lengths):
        raise Malformed("A body has one Content-Length.")
    length = int(lengths[0]) if lengths else None
    if codings:
        if minor == 0 or codings != ["chunked"]:
            raise Malformed("The one transfer coding is chunked.")
        return None, length
    return length or 0, None


def body(head: Head, stream: BinaryIO) -> Iterator[bytes]:
    """The body, piece by piece as it comes. Raises Malformed, Gone."""
    if head.length is not None:
        yield from _exactly(stream, head.length)
        return
    total = 0
    while True:
        size = _SIZE.fullmatch(stream.readline(100))
        if size is None:
            raise Malformed("A chunk does not begin with its size.")
        left = int(size[1], 16)
        yield from _exactly(stream, left)
        if stream.read(2) != b"\r\n":
            raise Malformed("A chunk does not end where its size says, or a trailer follows the chunks.")
        total += left
        if not left:
            break
    if head.said not in (None, total):
        raise Malformed("The body is not as long as its Content-Length says.")


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read1(min(size, PIECE))  # type: ignore[attr-defined]
        if not piece:
            raise Gone
        size -= len(piece)
        yield piece
