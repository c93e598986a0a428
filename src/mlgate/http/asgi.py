"""The ASGI application: bytes in, the door, bytes out. Nothing here decides anything.

A plain ASGI class on purpose: the prediction path is this file, the door and one handler.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from mlgate.api.call import Head, Request, Response, Services
from mlgate.api.dispatch import Door
from mlgate.core.errors import Internal, RpcError, TooLarge
from mlgate.http import batch
from mlgate.http.errors import respond

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger("mlgate.http")

#: Kinds of answers whose beginning is remembered for a second.
MOST_LEADS = 100


class ClientGone(Exception):
    """The caller hung up in the middle of its body; there is nobody to answer."""


class App:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._door = Door(services)
        self._ids = RequestIds()
        #: How answers begin, by what they have in common: it changes once a second, with the date.
        self._common: Headers = []
        self._leads: dict[tuple[Any, ...], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            self._door.close()
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"{scope['type']} is not served here")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request = self._request(scope, receive)
        try:
            response = await self.answer(request)
        except ClientGone:
            return
        await _send(response, request, send, receive)
        log.debug(
            "request",
            http=request.http,
            path=request.raw_path,
            status=response.status,
            ms=round((time.perf_counter() - began) * 1000, 2),
            request_id=request.request_id,
        )

    def head(self, path: bytes, headers: Headers, scheme: str, server: Any) -> Head:
        """The head of a POST without a query (`http/protocol.py`)."""
        given = _headers(headers)
        return Head("POST", path.decode("latin-1"), [], given, self._base_url(scheme, given, server))

    async def answer_whole(self, head: Head, body: bytes, common: Headers) -> bytes:
        """The answer to a POST that is here whole, as it goes over the wire; `common` are headers that every answer
        has, a new list whenever they change."""
        request = Request(head, _Whole(body), self._ids.next(), True)
        response = await self.answer(request)
        content = response.body
        assert isinstance(content, bytes)  # only downloads stream
        if common is not self._common:
            self._common, self._leads = common, {}
        kind = (response.status, response.media_type, *response.headers)
        lead = self._leads.get(kind)
        if lead is None:
            lines = (b"%b: %b\r\n" % line for line in (*common, *_answer_headers(response)))
            lead = b"".join((STATUS_LINE[response.status], *lines))
            if len(self._leads) < MOST_LEADS:
                self._leads[kind] = lead
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            lead, request.request_id.encode(), len(content), content,
        )  # fmt: skip

    async def answer(self, request: Request) -> Response:
        """The response to a request, its errors included; used for the parts of a batch too."""
        try:
            if request.http == "POST" and batch.is_batch(request.raw_path):
                self._door.identify(request)
                return await batch.answer(request, self.answer)
            return await self._door.answer(request)
        except RpcError as error:
            return respond(error, storage=_is_storage(request))
        except ClientGone:
            raise
        except Exception:  # the last resort: said in the log, never to the caller
            log.exception("fault", http=request.http, path=request.raw_path, request_id=request.request_id)
            fault = Internal(f"Internal error. Its request id is {request.request_id}.")
            return respond(fault, storage=_is_storage(request))

    def _request(self, scope: Scope, receive: Receive) -> Request:
        headers = _headers(scope["headers"])
        head = Head(
            http=scope["method"],
            raw_path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0],
            query=_query(scope.get("query_string", b"")),
            headers=headers,
            base_url=self._base_url(scope.get("scheme", "http"), headers, scope.get("server")),
        )
        return Request(head, _Body(receive, headers), self._ids.next())

    def _base_url(self, scheme: str, headers: Mapping[str, str], server: Any) -> str:
        host = headers.get("host") or "{}:{}".format(*(server or ("127.0.0.1", 0)))
        return self._services.settings.public_url or f"{scheme}://{host}"


def _is_storage(request: Request) -> bool:
    return "storage/v1" in request.raw_path


class RequestIds:
    """Ids for requests: a random beginning for each process, and a number."""

    def __init__(self) -> None:
        self._lead = secrets.token_hex(5)
        self._count = itertools.count(1)

    def next(self) -> str:
        return f"{self._lead}{next(self._count):08x}"


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1")
        # two credentials are none: no two readers of the request may take it for two people's
        headers[name] = "" if name == "authorization" and name in headers else raw_value.decode("latin-1")
    return headers


class _Whole:
    """A body that is here already."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit: int) -> bytes:
        if len(self._data) > limit:
            raise _too_large(limit)
        return self._data

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._data


class _Body:
    """A request's body, read at most once, never beyond the limit that its method has."""

    def __init__(self, receive: Receive, headers: dict[str, str]) -> None:
        self._receive = receive
        self._declared = headers.get("content-length", "")

    async def read(self, limit: int) -> bytes:
        if self._declared.isdigit() and int(self._declared) > limit:
            raise _too_large(limit)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        data: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(data) > limit:
                raise _too_large(limit)
            return data
        parts, size = [data], len(data)
        async for chunk in self.stream():
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
        return b"".join(parts)

    async def stream(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than the {limit} bytes that this method takes.")


def _query(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except (UnicodeDecodeError, ValueError):
        return [("\ufffd", "")]  # a query that is not UTF-8: no method has such a parameter


async def _send(response: Response, request: Request, send: Send, receive: Receive) -> None:
    headers = [*_answer_headers(response), (b"x-request-id", request.request_id.encode())]
    if isinstance(response.body, bytes):
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.http == "HEAD" else response.body})
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        async for chunk in response.body:
            if gone.done():
                return  # nobody reads on: neither do we
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


def _answer_headers(response: Response) -> Headers:
    return [
        (b"content-type", response.media_type.encode("latin-1")),
        (b"x-content-type-options", b"nosniff"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
    ]


async def _hung_up(receive: Receive) -> None:
    """Ends when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
