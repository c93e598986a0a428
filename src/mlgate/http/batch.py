"""Batch requests: several calls in one multipart/mixed body, each answered by the same door as if it came alone.

Google's format: each part is an `application/http` message; its Content-ID comes back with `response-` in front.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from email import policy
from email.parser import BytesParser
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from mlgate.api.call import Request, Response
from mlgate.core.errors import InvalidArgument, RpcError
from mlgate.http.errors import respond

Answer = Callable[[Request], Awaitable[Response]]

MAX_CALLS, MAX_BYTES = 1000, 4 << 20
_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+)(?: HTTP/1\.[01])?")


def is_batch(raw_path: str) -> bool:
    return re.fullmatch(r"/batch(/[a-z]+/v\d+)?", raw_path) is not None


async def answer(request: Request, one: Answer) -> Response:
    """Answer every part in order. Raises InvalidArgument for a body that is no batch."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/mixed"):
        raise InvalidArgument("A batch has the content type multipart/mixed with a boundary.")
    body = await request.body(MAX_BYTES)
    raw = b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body
    whole = await asyncio.to_thread(BytesParser(policy=policy.HTTP).parsebytes, raw)
    if not whole.is_multipart():
        raise InvalidArgument("The batch holds no parts.")
    parts = whole.get_payload()
    if len(parts) > MAX_CALLS:
        raise InvalidArgument(f"The batch holds {len(parts)} calls; {MAX_CALLS} are allowed.")
    boundary = f"batch_{secrets.token_hex(12)}"
    out = []
    for part in parts:
        payload: Any = part.get_payload(decode=True)  # type: ignore[union-attr]  # the parts of a multipart are messages
        content_id = str(part.get("Content-ID", ""))  # type: ignore[union-attr]
        try:
            response = await one(_inner(request, payload or b""))
        except RpcError as error:  # this part alone
            response = respond(error)
        out.append(_part(boundary, content_id, response))
    joined = "".join(out).encode() + f"--{boundary}--\r\n".encode()
    return Response(body=joined, media_type=f"multipart/mixed; boundary={boundary}")


def _inner(outer: Request, payload: bytes) -> Request:
    head, _, body = payload.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode("utf-8", "replace").strip().split("\n")
    match = _REQUEST_LINE.fullmatch(first.strip())
    if not match:
        raise InvalidArgument(f'A part of the batch does not begin with a request line: "{first[:100]}".')
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "authorization" in outer.headers:
        headers.setdefault("authorization", outer.headers["authorization"])
    target = re.sub(r"^https?://[^/]+", "", match.group(2))
    path, _, query = target.partition("?")
    if is_batch(path):
        raise InvalidArgument("A batch cannot hold a batch.")

    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise InvalidArgument(f"The body of a part is larger than the {limit} bytes that its method takes.")
        return body.rstrip(b"\n")

    async def stream() -> AsyncIterator[bytes]:
        yield body

    return replace(
        outer,
        http=match.group(1),
        raw_path=path,
        query=parse_qsl(query, keep_blank_values=True),
        headers=headers,
        body=read,
        stream=stream,
        request_id=secrets.token_hex(8),
    )


def _part(boundary: str, content_id: str, response: Response) -> str:
    if not isinstance(response.body, bytes):
        raise InvalidArgument("Media cannot be downloaded in a batch.")
    reason = HTTPStatus(response.status).phrase if response.status in HTTPStatus._value2member_map_ else ""
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if content_id:
        lines.append(f"Content-ID: <response-{content_id.strip('<>')}>")
    lines += ["", f"HTTP/1.1 {response.status} {reason}", f"Content-Type: {response.media_type}"]
    lines += [f"Content-Length: {len(response.body)}", "", response.body.decode("utf-8", "replace"), ""]
    return "\r\n".join(lines)
