"""The ModelHost of API processes: relays request bodies, unparsed, to model processes over unix sockets.

One connection per version. When there is none, the worker's control socket is asked where the version answers; a
hundred first requests ask once. Frames are described in runtimes/serve.py.

    # INVARIANT: a request that was written is never written again; one that never left may use a second connection.

On the hot path nothing is made per request but a future and a frame: what is asked in one turn of the event loop goes
out in one write, and one coarse timer looks for requests whose time is over. A request that timed out still
waits in the model process, so it still counts against the bound.

The model process is a stranger: its frames are bounded, its status is 200 or 400, it answers each request once and what
it begins to answer it ends in time; anything else ends the connection and frees what it sent.
"""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import cast

from mlgate.adapters.hosts import control
from mlgate.core.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from mlgate.ports import ModelAnswer, ModelSpec

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<IIH")
LARGEST_ANSWER = 16 << 20
NUMBERS = (1 << 32) - 1
MOST_BYTES = 64 << 20
SWEEP_SECONDS = 0.1
STATUSES = (200, 400)

Answered = asyncio.Future[ModelAnswer]


class _NotSentError(Exception):
    """The connection ended before the request was written to it."""


class SocketModelHost:
    """ModelHost over the sockets of the worker that uses the same `run_dir`. For one event loop."""

    def __init__(self, run_dir: Path, *, max_waiting: int = 512) -> None:
        """`max_waiting` bounds the unanswered requests to one version from this process."""
        self._run_dir = run_dir
        self._max_waiting = max_waiting
        self._links: dict[str, _Link] = {}
        self._starting: dict[str, tuple[asyncio.Task[_Link], list[None]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def predict(self, spec: ModelSpec, body: bytes, timeout: float) -> ModelAnswer:
        """Raises Unavailable, DeadlineExceeded, ResourceExhausted; FailedPrecondition when the model cannot load."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for is_last in (False, True):
            link = self._links.get(spec.uid)
            if link is None or link.is_closed:
                link = await self._connected(spec, deadline)
            if len(link.waiting) >= self._max_waiting or link.queued + len(body) > MOST_BYTES:
                raise self._full()
            answered = link.ask(body, deadline)
            if self._sweeper is None:
                self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
            try:
                return await answered
            except _NotSentError:
                if is_last:
                    raise Unavailable("The version's model process cannot be reached.") from None
        raise AssertionError

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task, _ in self._starting.values():
            task.cancel()
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _full(self) -> ResourceExhausted:
        return ResourceExhausted("Too many requests are waiting for this version; try again later.")

    async def _connected(self, spec: ModelSpec, deadline: float) -> _Link:
        """A live connection, made once for all who wait for it."""
        entry = self._starting.get(spec.uid)
        if entry is None:
            task = asyncio.ensure_future(self._connect(spec))
            entry = self._starting[spec.uid] = (task, [])
            task.add_done_callback(lambda done: self._forget(spec.uid, done))
        task, waiters = entry
        if len(waiters) >= self._max_waiting:
            raise self._full()
        waiters.append(None)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded("The version's model process did not start in time.") from None
        except asyncio.CancelledError:
            if task.cancelled():  # the host was closed, not the caller
                raise Unavailable("The server is shutting down.") from None
            raise
        finally:
            waiters.pop()

    def _forget(self, uid: str, done: asyncio.Task[_Link]) -> None:
        self._starting.pop(uid, None)
        if not done.cancelled():
            done.exception()  # seen: everyone who waited may have timed out

    async def _connect(self, spec: ModelSpec) -> _Link:
        loop = asyncio.get_running_loop()
        try:
            path = await self._ask(spec)
            _, link = await loop.create_unix_connection(lambda: _Link(loop), path)
        except OSError:
            raise Unavailable("The version's model process cannot be reached.") from None
        old = self._links.get(spec.uid)
        if old is not None:
            old.close()
        self._links[spec.uid] = link
        return link

    async def _ask(self, spec: ModelSpec) -> str:
        try:
            reader, writer = await asyncio.open_unix_connection(control.socket_path(self._run_dir))
        except OSError:
            raise Unavailable("The model worker is not running.") from None
        try:
            writer.write(control.ask_line(spec))
            return control.read_answer(await reader.readline())
        except (OSError, json.JSONDecodeError, ValueError):
            raise Unavailable("The model worker went away.") from None
        finally:
            writer.close()

    def _sweep(self) -> None:
        """Fail what is overdue, and come again while anything waits."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        waits = False
        for uid, link in list(self._links.items()):
            if link.is_closed:
                del self._links[uid]
            elif link.waiting:
                waits = True
                link.expire(now)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if waits else None


class _Link(asyncio.Protocol):
    """A connection to a version's model process, and what waits on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: dict[int, tuple[Answered, float]] = {}
        self.queued = 0
        self.is_closed = False
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._unsent: list[bytes] = []
        self._unsent_numbers: list[int] = []
        self._incoming = bytearray()

    def ask(self, body: bytes, deadline: float) -> Answered:
        self._number = number = self._number % NUMBERS + 1
        answered: Answered = self._loop.create_future()
        self.waiting[number] = (answered, deadline)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += (REQUEST.pack(4 + len(body), number), body)
        self._unsent_numbers.append(number)
        self.queued += len(body)
        return answered

    def expire(self, now: float) -> None:
        """Fail what is overdue. An answer that is half here when its request's time is over ends the connection."""
        if len(self._incoming) >= ANSWER.size:
            entry = self.waiting.get(ANSWER.unpack_from(self._incoming)[1])
            if entry is not None and entry[1] <= now:
                self.close()
        for answered, deadline in self.waiting.values():
            if deadline <= now and not answered.done():
                answered.set_exception(DeadlineExceeded("The model did not answer in time."))

    def close(self) -> None:
        self.is_closed = True
        self._incoming = bytearray()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not an instance of asyncio's

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        incoming = self._incoming
        incoming += data
        start, end = 0, len(incoming)
        while end - start >= ANSWER.size:
            length, number, status = ANSWER.unpack_from(incoming, start)
            entry = self.waiting.get(number)
            if entry is None or length < 6 or status not in STATUSES:
                self.close()  # what was not asked, or was answered before: a request that timed out still waits here
                return
            answered = entry[0]
            if length > LARGEST_ANSWER:
                if not answered.done():
                    answered.set_exception(_too_large())
                self.close()
                return
            if end - start < 4 + length:
                break
            del self.waiting[number]
            if not answered.done():
                answered.set_result(ModelAnswer(status, bytes(memoryview(incoming)[start + 10 : start + 4 + length])))
            start += 4 + length
        if start == end:
            self._incoming = bytearray()  # a cleared one may keep its memory
        elif start:
            del incoming[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._incoming = bytearray()
        unsent = set(self._unsent_numbers)
        self._unsent.clear()
        self._unsent_numbers.clear()
        for number, (answered, _) in self.waiting.items():
            if not answered.done():
                answered.set_exception(
                    _NotSentError() if number in unsent else Unavailable("The model process ended during the request.")
                )
        self.waiting.clear()

    def _send(self) -> None:
        transport = self._transport
        if self.is_closed or transport is None:
            return  # connection_lost tells them
        transport.write(b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_numbers.clear()
        self.queued = transport.get_write_buffer_size()


def _too_large() -> FailedPrecondition:
    return FailedPrecondition(f"The model's answer is larger than the {LARGEST_ANSWER} bytes that can be relayed.")
