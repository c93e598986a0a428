"""uvicorn's HTTP protocol with what it does not have itself.

**Bounds**: how large a request's head may be, how long it may take to arrive, and how much may come that the parser
cannot make anything of (an endless header, a trailer). A connection that exceeds one is closed. Trailers are counted
and dropped: a header that comes behind the body is none.

**The short way**: a prediction whose length is declared is not passed through ASGI but handed to the application whole,
as soon as its last byte is here, and its answer goes out in one write; ASGI's messages, its events and timers are more
than half of what such a request costs. It goes through the same door as every other (`App.answer`). Whatever is unusual
about a request, a query, a chunked or large body, a pipeline, sends it the long way. Requests that came in one turn of
the event loop are begun together in the next: one look at the store's revision serves them all (`api/dispatch.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlgate.http.asgi import App, ClientGone

log = structlog.get_logger("mlgate.http")

MAX_HEAD, HEAD_SECONDS = 64 << 10, 30.0
#: Longer bodies go the long way, which reads them no faster than they are used.
MAX_SHORT = 2 << 20
_SHORT = (b":predict", b":explain")


class _Event:
    """Of a request that nobody reads piece by piece: there is no one to wake."""

    def set(self) -> None:
        pass


_NOBODY = _Event()


class _Short:
    """A request on the short way, in the place where uvicorn keeps its cycle of request and response.

    It drives its own coroutine, as a task would: a step for each future that the coroutine waits for. That saves what
    tasks are for and a prediction has no use for. What needs a task (a time-out) makes one.
    """

    __slots__ = (
        "body", "coroutine", "disconnected", "keep_alive", "message_event", "more_body", "protocol",
        "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: BoundedProtocol) -> None:
        self.protocol = protocol
        self.body: list[bytes] = []
        self.disconnected = self.response_complete = False
        self.keep_alive = self.more_body = True
        self.message_event = _NOBODY
        self.coroutine: Coroutine[Any, Any, bytes]

    def step(self, _: object = None) -> None:
        """Go on until the next future, or to the end."""
        try:
            future = self.coroutine.send(None)
        except StopIteration as end:
            self.protocol.answered(self, end.value)
        except ClientGone:
            self.protocol.answered(self, b"")
        except Exception:  # the application answers its own faults; this is the last resort
            log.exception("fault on the short way")
            self.protocol.answered(self, b"")
        else:
            future._asyncio_future_blocking = False  # as asyncio.Task takes it
            future.add_done_callback(self.step)

    def cancel(self, _: object = None) -> None:
        """As of a task: the server stops and has waited long enough."""
        self.protocol.transport.abort()


class _Begin:
    """Begins the requests of one turn of the event loop in the next one."""

    def __init__(self) -> None:
        self._arrived: list[_Short] = []

    def add(self, loop: asyncio.AbstractEventLoop, short: _Short) -> None:
        if not self._arrived:
            loop.call_soon(self._run)
        self._arrived.append(short)

    def _run(self) -> None:
        arrived, self._arrived = self._arrived, []
        for short in arrived:
            short.step()


_BEGIN = _Begin()


class BoundedProtocol(HttpToolsProtocol):
    app: App
    cycle: Any  # uvicorn's, or a _Short
    _head = 0
    _silent = 0
    _head_is_over = False
    _late: asyncio.TimerHandle | None = None
    _active = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent += len(data)  # the parser's callbacks set this back as they make something of the bytes
        super().data_received(data)
        if self._silent > MAX_HEAD:
            self.transport.abort()
        elif not self._head_is_over and self._late is None and not self.transport.is_closing():
            self._expect_head()

    def on_message_begin(self) -> None:
        self._head = self._silent = 0
        self._head_is_over = False
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
        if self.transport.is_closing():
            return
        if self._is_short():
            self.cycle = _Short(self)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        if type(self.cycle) is _Short:
            self.cycle.body.append(body)
        else:
            super().on_body(body)

    def on_chunk_header(self) -> None:
        self._silent = 0

    def on_chunk_complete(self) -> None:
        self._silent = 0

    def on_message_complete(self) -> None:
        self._silent = 0
        if type(self.cycle) is not _Short:
            super().on_message_complete()
        elif not self.transport.is_closing():
            short: _Short = self.cycle
            body = short.body[0] if len(short.body) == 1 else b"".join(short.body)
            short.body.clear()
            short.coroutine = self.app.answer_whole(
                self.url, self.headers, body, self.scheme or "http", self.server, self.server_state.default_headers
            )
            self.tasks.add(short)  # type: ignore[arg-type]
            _BEGIN.add(self.loop, short)

    # ------------------------------------------------------------------------------------------------- the short way

    def _is_short(self) -> bool:
        url = self.url
        if not url.endswith(_SHORT) or url[:1] != b"/" or url[:2] == b"//" or b"?" in url or b"#" in url:
            return False
        if self.parser.get_method() != b"POST" or self.expect_100_continue or self.root_path:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self.limit_concurrency is not None and max(len(self.connections), len(self.tasks)) >= self.limit_concurrency:
            return False
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return False
        if self.parser.should_upgrade():
            return False
        lengths = [value for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        return len(lengths) == 1 and lengths[0].isdigit() and 0 < int(lengths[0]) <= MAX_SHORT

    def answered(self, short: _Short, answer: bytes) -> None:
        """Write the answer; without one there is nobody to answer, or nothing to say."""
        self.tasks.discard(short)
        if short.disconnected or self.transport.is_closing():
            return
        if not answer:
            self.transport.abort()
            return
        self.transport.write(answer)
        short.response_complete = True
        if not short.keep_alive:  # the server is stopping
            self.transport.close()
        self.on_response_complete()

    # ------------------------------------------------------------------------------------------------------- timers

    def _unset_keepalive_if_required(self) -> None:
        """The one timer of a connection stays; it looks when something was last done."""
        self._active = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._active = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.timeout_keep_alive_task is None:
            self._watch_idle(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return  # its end starts the timer anew
        left = self._active + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch_idle(left)
        else:
            self.transport.close()

    def _watch_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

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
