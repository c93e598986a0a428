"""Batch requests: several calls in one multipart/mixed body, each answered by the same door as if it came alone.

Google's format: each part is an `application/http` message; its Content-ID comes back with `response-` in front. The
body is split here, by its boundary and nothing else: a general MIME parser decodes headers, follows nested parts and
counts nothing, which strangers can make arbitrarily dear. A batch needs a valid token before its body is read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from urllib.parse import parse_qsl

from mlgate.api.call import Head, Request, Response
from mlgate.core.errors import InvalidArgument, ResourceExhausted, RpcError
from mlgate.http.errors import respond

Answer = Callable[[Request], Awaitable[Response]]

MAX_CALLS, MAX_BYTES, MAX_ANSWER = 1000, 4 << 20, 32 << 20
MAX_QUERY = 1000
_BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,200})"|'([^'\r\n]{1,200})'|([^\s;"]{1,200}))""", re.IGNORECASE)
_REQUEST_LINE = re.compile(r"([A-Z]{1,10}) (\S{1,8000})(?: HTTP/1\.[01])?")
_CONTENT_ID = re.compile(rb"^content-id:[ \t]*([!-~](?:[ -~]{0,198}[!-~])?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def is_batch(raw_path: str) -> bool:
    return raw_path.startswith("/batch") and re.fullmatch(r"/batch(/[a-z]+/v\d+)?", raw_path) is not None


async def answer(request: Request, one: Answer) -> Response:
    """Answer every part in order. Raises InvalidArgument for a body that is no batch, ResourceExhausted for an answer
    that would be too large."""
    kind = request.headers.get("content-type", "")
    boundary = _BOUNDARY.search(kind)
    if not kind.lower().startswith("multipart/mixed") or boundary is None:
        raise InvalidArgument("A batch has the content type multipart/mixed with a boundary.")
    body = await request.body.read(MAX_BYTES)
    mark = f"batch_{secrets.token_hex(12)}"
    out: list[bytes] = []
    size = 0
    for head, payload in _parts(body, next(filter(None, boundary.groups())).encode("latin-1")):
        try:
            response = await one(_inner(request, payload))
        except RpcError as error:  # this part alone
            response = respond(error)
        out.append(_part(mark, head, response))
        size += len(out[-1])
        if size > MAX_ANSWER:
            raise ResourceExhausted(f"The answer to the batch is larger than {MAX_ANSWER} bytes: send smaller batches.")
    if not out:
        raise InvalidArgument("The batch holds no parts.")
    out.append(f"--{mark}--\r\n".encode())
    return Response(body=b"".join(out), media_type=f"multipart/mixed; boundary={mark}")


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The head and the payload of each part. Raises InvalidArgument for more parts than a batch may hold."""
    sections = (b"\r\n" + body.replace(b"\n", b"\r\n").replace(b"\r\r\n", b"\r\n")).split(
        b"\r\n--" + boundary, MAX_CALLS + 2
    )
    if len(sections) > MAX_CALLS + 2:
        raise InvalidArgument(f"The batch holds more than the {MAX_CALLS} calls that are allowed.")
    for section in sections[1:]:
        if section.startswith(b"--"):
            return
        head, _, payload = section.partition(b"\r\n\r\n")
        yield head, payload


def _inner(outer: Request, payload: bytes) -> Request:
    head, _, body = payload.partition(b"\r\n\r\n")
    first, *lines = head.decode("utf-8", "replace").strip().split("\r\n")
    match = _REQUEST_LINE.fullmatch(first.strip())
    if not match:
        raise InvalidArgument(f'A part of the batch does not begin with a request line: "{first[:100]}".')
    headers = {}
    for line in lines[:100]:
        name, _, value = line.partition(":")
        key = name.strip().lower()
        headers[key] = "" if key == "authorization" and key in headers else value.strip()
    own = "authorization" in headers
    if not own and "authorization" in outer.headers:
        headers["authorization"] = outer.headers["authorization"]
    target = re.sub(r"^https?://[^/]+", "", match.group(2))
    path, _, query = target.partition("?")
    if path.lstrip("/").split("/")[0] in ("batch", "upload", "resumable", "download"):
        raise InvalidArgument("A batch cannot hold a batch, or media.")
    try:
        parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY)
    except ValueError:
        raise InvalidArgument(f"A part of the batch has more than {MAX_QUERY} query parameters.") from None
    if not own:
        parameters += [pair for pair in outer.query if pair[0] in ("access_token", "oauth_token")]

    inner = Head(match.group(1), path, parameters, headers, outer.base_url)
    return Request(inner, _Inside(body), secrets.token_hex(8))


class _Inside:
    """The body of a part, which is here already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit: int) -> bytes:
        if len(self._data) > limit:
            raise InvalidArgument(f"The body of a part is larger than the {limit} bytes that its method takes.")
        return self._data.rstrip(b"\r\n")

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._data


def _part(boundary: str, head: bytes, response: Response) -> bytes:
    if not isinstance(response.body, bytes):
        response = respond(InvalidArgument("Media cannot be downloaded in a batch."))
    assert isinstance(response.body, bytes)
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if named := _CONTENT_ID.search(head[:4096]):
        lines.append(f"Content-ID: <response-{named.group(1).decode('ascii').strip('<>')}>")
    known = {status.value: status.phrase for status in HTTPStatus}
    lines += [
        "",
        f"HTTP/1.1 {response.status} {known.get(response.status, '')}",
        f"Content-Type: {response.media_type}",
    ]
    lines += [f"Content-Length: {len(response.body)}", "", ""]
    return "\r\n".join(lines).encode() + response.body + b"\r\n"
