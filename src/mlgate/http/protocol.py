"""uvicorn's HTTP protocol with bounds that it does not have itself: how large a request's head may be, how long it may
take to arrive, and how much may come that the parser cannot make anything of (an endless header, a trailer). A
connection that exceeds one is closed. Trailers are counted and dropped: a header that comes behind the body is none.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD, HEAD_SECONDS = 64 << 10, 30.0


class BoundedProtocol(HttpToolsProtocol):
    _head = 0
    _silent = 0
    _head_is_over = False
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent += len(data)  # the parser's callbacks set this back as they make something of the bytes
        super().data_received(data)
        if self._silent > MAX_HEAD:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._head = self._silent = 0
        self._head_is_over = False
        self._expect_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if not self._head_is_over:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._silent = 0
        self._head_is_over = True
        self._head_came()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._silent = 0

    def on_chunk_complete(self) -> None:
        self._silent = 0

    def on_message_complete(self) -> None:
        self._silent = 0
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._head_came()
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _count(self, size: int) -> None:
        self._silent = 0
        self._head += size
        if self._head > MAX_HEAD:
            self.transport.abort()
