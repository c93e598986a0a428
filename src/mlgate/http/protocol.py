"""uvicorn's HTTP protocol with what it does not have itself.

**Bounds**: how large a request's head may be, how long it may take to arrive, and how much may come that the parser
cannot make anything of (an endless header, a trailer). A connection that exceeds one is closed. Trailers are counted
and dropped: a header that comes behind the body is none.

**The short way**: a prediction whose length is declared is not passed through ASGI but handed to the application whole,
as soon as its last byte is here, and its answer goes out in one write; ASGI's messages, its events and timers are more
than half of what such a request costs. It goes through the same door as every other (`App.answer`). Whatever is unusual
about a request, a query, a chunked or large body, a pipeline, sends it the long way. Requests that came in one turn of
the event loop are begun together in the next (`turns.py`): one look at the store's revision serves them all.

**Known heads**: who calls again and again sends the same head each time, but for the length of its body. A request that
begins with the very bytes of the one before is not parsed again; the same bytes mean the same. What they mean for the
application, it finds again with the head (`api/dispatch.py`), and decides anew.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, NamedTuple

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlgate.api.call import Head
from mlgate.http.asgi import App, ClientGone
from mlgate.turns import TURNS

log = structlog.get_logger("mlgate.http")

MAX_HEAD, HEAD_SECONDS = 64 << 10, 30.0
#: Longer bodies go the long way, which reads them no faster than they are used.
MAX_SHORT = 2 << 20
_SHORT = (b":predict", b":explain")
#: Of a head that is remembered, and of the length of a body: a number and the line's end.
LONGEST_KNOWN, MOST_DIGITS = 4 << 10, 8
_LENGTH = re.compile(rb"(\r\ncontent-length:[ \t]*)(\d+)\r\n", re.IGNORECASE)


class _Event:
    """Of a request that nobody reads piece by piece: there is no one to wake."""

    def set(self) -> None:
        pass


_NOBODY = _Event()


class _Arriving:
    """A request for the short way, of whose body some is not here yet."""

    message_event = _NOBODY

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.disconnected = self.response_complete = False
        self.keep_alive = True


class _Short:
    """A request on the short way, in the place where uvicorn keeps its cycle of request and response.

    It drives its own coroutine, as a task would: a step for each future that the coroutine waits for. That saves what
    tasks are for and a prediction has no use for. What needs a task (a time-out) makes one.
    """

    __slots__ = ("coroutine", "disconnected", "keep_alive", "protocol", "response_complete")
    message_event = _NOBODY

    def __init__(self, protocol: BoundedProtocol, coroutine: Coroutine[Any, Any, bytes], keep_alive: bool) -> None:
        self.protocol = protocol
        self.coroutine = coroutine
        self.disconnected = self.response_complete = False
        self.keep_alive = keep_alive

    def step(self, _: object = None) -> None:
        """Go on until the next future, or to the end."""
        try:
            future = self.coroutine.send(None)
        except StopIteration as end:
            self.protocol.answered(self, end.value)
        except (ClientGone, asyncio.CancelledError):  # who asked is gone, or what was awaited
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


class _Known(NamedTuple):
    """The head of a connection's last request on the short way: its bytes before and after the number that tells the
    body's length, and what the application made of it. The next request mostly has the same."""

    before: bytes
    after: bytes
    head: Head

    def body(self, data: bytes) -> bytes | None:
        """The body, where the data are this head, with any length, and just as much."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(b"\r", start, start + MOST_DIGITS)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        body = data[end + len(self.after) :]
        return body if len(body) == int(digits) and 0 < len(body) <= MAX_SHORT else None


class BoundedProtocol(HttpToolsProtocol):
    app: App
    cycle: Any  # uvicorn's, or a _Short
    _head = 0
    _silent = 0
    _head_is_over = False
    _late: asyncio.TimerHandle | None = None
    _active = 0.0
    #: What came last from the wire, when it began where a request begins; else nothing.
    _chunk = b""
    _is_between = True
    _known: _Known | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._known is not None and self._is_between and self._is_free():
            body = self._known.body(data)
            if body is not None:
                self._active = self.loop.time()
                self._begin(self._known.head, body)
                return
        self._chunk = data if self._is_between else b""
        self._silent += len(data)  # the parser's callbacks set this back as they make something of the bytes
        super().data_received(data)
        if self._silent > MAX_HEAD:
            self.transport.abort()
        elif not self._head_is_over and self._late is None and not self.transport.is_closing():
            self._expect_head()

    def on_message_begin(self) -> None:
        self._is_between = False
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
            self.cycle = _Arriving()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        if type(self.cycle) is _Arriving:
            self.cycle.body.append(body)
        else:
            super().on_body(body)

    def on_chunk_header(self) -> None:
        self._silent = 0

    def on_chunk_complete(self) -> None:
        self._silent = 0

    def on_message_complete(self) -> None:
        self._silent = 0
        self._is_between = True
        if type(self.cycle) is not _Arriving:
            super().on_message_complete()
        elif not self.transport.is_closing():
            body = self.cycle.body[0] if len(self.cycle.body) == 1 else b"".join(self.cycle.body)
            head = self.app.head(self.url, self.headers, self.scheme or "http", self.server)
            self._known = _known(self._chunk, body, head)
            self._begin(head, body, self.cycle.keep_alive)
        self._chunk = b""

    # ------------------------------------------------------------------------------------------------- the short way

    def _is_short(self) -> bool:
        url = self.url
        if not url.endswith(_SHORT) or url[:1] != b"/" or url[:2] == b"//" or b"?" in url or b"#" in url:
            return False
        if self.parser.get_method() != b"POST" or self.expect_100_continue or self.root_path:
            return False
        if not self._is_free():
            return False
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return False
        if self.parser.should_upgrade():
            return False
        lengths = [value for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        return len(lengths) == 1 and lengths[0].isdigit() and 0 < int(lengths[0]) <= MAX_SHORT

    def _is_free(self) -> bool:
        """Whether a request may begin now: the one before is answered, and the server is not full."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        limit = self.limit_concurrency
        return limit is None or (len(self.connections) < limit and len(self.tasks) < limit)

    def _begin(self, head: Head, body: bytes, keep_alive: bool = True) -> None:
        coroutine = self.app.answer_whole(head, body, self.server_state.default_headers)
        short = self.cycle = _Short(self, coroutine, keep_alive)
        self.tasks.add(short)  # type: ignore[arg-type]
        TURNS.begin(self.loop, short.step)

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


def _known(chunk: bytes, body: bytes, head: Head) -> _Known | None:
    """What to know a head by, where a chunk from the wire was that head and its body and nothing else."""
    written = chunk[: len(chunk) - len(body)]
    if not chunk.endswith(body) or len(written) > LONGEST_KNOWN:
        return None
    if written.find(b"\r\n\r\n") != len(written) - 4:  # what ends with this body is another request
        return None
    length = _LENGTH.search(written)
    return _Known(written[: length.end(1)], written[length.end(2) :], head) if length is not None else None
