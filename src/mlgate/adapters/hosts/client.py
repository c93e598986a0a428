"""The ModelHost of API processes: relays request bodies, unparsed, to model processes over unix sockets.

One connection for each of a version's processes. When there is none, the worker's control socket is asked where the
version answers; a hundred first requests ask once. Once a second the worker is told how many requests wait for each
version, and says where it answers by now. Frames are described in runtimes/serve.py.

    # INVARIANT: a request that was written is never written again; one that never left may use a second connection.

On the hot path nothing is made per request but a future and a frame: what is asked in one turn (`turns.py`) goes out
in one write, and one coarse timer looks for requests whose time is over. A request that timed out still waits in the
model process, so it still counts against the bound. A process that has answered nobody for as long as a prediction may
take is hung, and the worker is asked to end it.

The model process is a stranger: its frames are bounded, its status is 200 or 400, it answers each request once and what
it begins to answer it ends in time; anything else ends the connection and frees what it sent.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from mlgate.adapters.hosts import control
from mlgate.core.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, RpcError, Unavailable
from mlgate.ports import ModelAnswer, ModelSpec
from mlgate.turns import TURNS

REQUEST = struct.Struct("<IIB")
ANSWER = struct.Struct("<IIH")
PREDICT, EXPLAIN = 0, 1
LEAVING = 0
LARGEST_ANSWER = 16 << 20
NUMBERS = (1 << 32) - 1
MOST_BYTES = 64 << 20
SWEEP_SECONDS = 0.1
REPORT_SECONDS = 1.0
#: How often a socket is asked for that is gone when it is connected to.
CONNECTS = 5
STATUSES = (200, 400)

Answered = asyncio.Future[ModelAnswer]


class _NotSentError(Exception):
    """The connection ended before the request was written to it."""


class SocketModelHost:
    """ModelHost over the sockets of the worker that uses the same `run_dir`. For one event loop."""

    def __init__(self, run_dir: Path, *, max_waiting: int = 512) -> None:
        """`max_waiting` bounds the unanswered requests to one process of a version from this process."""
        self._run_dir = run_dir
        self._max_waiting = max_waiting
        self._name = secrets.token_hex(4)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: dict[str, list[_Link]] = {}
        self._starting: dict[str, tuple[asyncio.Task[None], list[None]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._reporter: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()

    def predict(self, spec: ModelSpec, body: bytes, timeout: float) -> Coroutine[Any, Any, ModelAnswer]:
        """Raises Unavailable, DeadlineExceeded, ResourceExhausted; FailedPrecondition when the model cannot load."""
        return self._relay(spec, PREDICT, body, timeout)

    def explain(self, spec: ModelSpec, body: bytes, timeout: float) -> Coroutine[Any, Any, ModelAnswer]:
        """As `predict`."""
        return self._relay(spec, EXPLAIN, body, timeout)

    async def _relay(self, spec: ModelSpec, verb: int, body: bytes, timeout: float) -> ModelAnswer:
        loop = self._loop = self._loop or asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for is_last in (False, True):
            link = self._link(spec.uid)
            if link is None:  # in a task, since whoever asks may be none (http/protocol.py)
                connected = await asyncio.ensure_future(self._connected(spec, deadline))
                link = self._link(spec.uid) or connected  # others who waited have asked by now
            if len(link.waiting) >= self._max_waiting or link.queued + len(body) > MOST_BYTES:
                raise self._full()
            answered = link.ask(verb, body, deadline, timeout)
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
        tasks = [task for task, _ in self._starting.values()]
        for task in (*tasks, *self._errands, *([self._reporter] if self._reporter else [])):
            task.cancel()
        for links in self._links.values():
            for link in links:
                link.close()
        self._links.clear()

    def _full(self) -> ResourceExhausted:
        return ResourceExhausted("Too many requests are waiting for this version; try again later.")

    # ------------------------------------------------------------------------------------------------ connections

    def _link(self, uid: str) -> _Link | None:
        """The connection on which the fewest wait."""
        links = self._links.get(uid)
        if not links:
            return None
        if len(links) == 1 and not links[0].is_closed:
            return links[0] if not links[0].is_leaving else None
        if any(link.is_closed for link in links):
            links = self._links[uid] = [link for link in links if not link.is_closed]
        staying = [link for link in links if not link.is_leaving]
        return min(staying, key=lambda link: len(link.waiting)) if staying else None

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
                await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded("The version's model process did not start in time.") from None
        except asyncio.CancelledError:
            if task.cancelled():  # the host was closed, not the caller
                raise Unavailable("The server is shutting down.") from None
            raise
        finally:
            waiters.pop()
        link = self._link(spec.uid)
        if link is None:
            raise Unavailable("The version's model process cannot be reached.")
        return link

    def _forget(self, uid: str, done: asyncio.Task[None]) -> None:
        self._starting.pop(uid, None)
        if not done.cancelled():
            done.exception()  # seen: everyone who waited may have timed out

    async def _connect(self, spec: ModelSpec) -> None:
        """Connect to the version's processes. Raises Unavailable when none can be reached."""
        for _ in range(CONNECTS):
            await self._join(spec.uid, await self._ask(spec), spec.seconds)
            if self._link(spec.uid) is not None:
                return
        raise Unavailable("The version's model process cannot be reached.")

    async def _ask(self, spec: ModelSpec) -> list[str]:
        """Where the version answers; the worker starts a process if need be."""
        found: list[str] = await control.ask(self._run_dir, control.spec_question(spec))
        return found

    async def _join(self, uid: str, paths: list[str], seconds: float) -> None:
        """Have a connection to each of these sockets; one that is gone by now is left out."""
        loop = asyncio.get_running_loop()
        for path in paths:
            if any(link.path == path and not link.is_closed for link in self._links.get(uid, ())):
                continue
            with suppress(OSError):
                _, link = await loop.create_unix_connection(lambda p=path: _Link(loop, p, seconds), path)  # type: ignore[misc]
                self._links.setdefault(uid, []).append(link)

    # ------------------------------------------------------------------------------------------------------ timers

    def _sweep(self) -> None:
        """Fail what is overdue, and come again while anything waits."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        waits = False
        for uid, links in list(self._links.items()):
            links[:] = [link for link in links if not link.is_closed]
            if not links:
                del self._links[uid]
            for link in links:
                if link.waiting:
                    waits = True
                    link.expire(now)
                    if link.is_hung(now):
                        self._do(control.ask(self._run_dir, {"hung": link.path}))
                        link.close()
        if self._reporter is None or self._reporter.done():
            self._reporter = asyncio.ensure_future(self._report())
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if waits else None

    async def _report(self) -> None:
        """Tell the worker who is asked for, and learn where they answer; ends when nobody is."""
        while True:
            waiting = {}
            for uid, links in self._links.items():
                if sum(link.take_asked() for link in links):
                    waiting[uid] = sum(len(link.waiting) for link in links)
            if not waiting:
                return
            with suppress(RpcError):
                found = await control.ask(self._run_dir, {"who": self._name, "waiting": waiting})
                for uid, paths in found.items():
                    known = self._links.get(uid)
                    if known:
                        await self._join(uid, paths, known[0].seconds)
            await asyncio.sleep(REPORT_SECONDS)

    def _do(self, errand: Coroutine[Any, Any, Any]) -> None:
        async def quietly() -> None:
            with suppress(RpcError):
                await errand

        task = asyncio.ensure_future(quietly())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


class _Link(asyncio.Protocol):
    """A connection to one of a version's processes, and what waits on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, seconds: float) -> None:
        self.path = path
        #: How long one prediction may take.
        self.seconds = seconds
        #: By number: who waits, until when, and since when.
        self.waiting: dict[int, tuple[Answered, float, float]] = {}
        self.queued = 0
        self.is_closed = False
        #: Whether the process has asked to be asked no more.
        self.is_leaving = False
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._asked = False
        self._heard = loop.time()
        self._unsent: list[bytes] = []
        self._unsent_numbers: list[int] = []
        self._incoming = bytearray()

    def ask(self, verb: int, body: bytes, deadline: float, timeout: float) -> Answered:
        self._number = number = self._number % NUMBERS + 1
        answered: Answered = self._loop.create_future()
        self.waiting[number] = (answered, deadline, deadline - timeout)
        self._asked = True
        if not self._unsent:
            TURNS.at_end(self._loop, self._send)
        self._unsent += (REQUEST.pack(5 + len(body), number, verb), body)
        self._unsent_numbers.append(number)
        self.queued += len(body)
        return answered

    def take_asked(self) -> bool:
        """Whether anybody has asked, or waits, since this was asked last."""
        asked, self._asked = self._asked or bool(self.waiting), False
        return asked

    def is_hung(self, now: float) -> bool:
        """Whether the process has answered nothing since a request that it could have answered by now."""
        asked = next(iter(self.waiting.values()))[2]  # the oldest
        return asked + self.seconds <= now and self._heard <= asked

    def expire(self, now: float) -> None:
        """Fail what is overdue. An answer that is half here when its request's time is over ends the connection."""
        if len(self._incoming) >= ANSWER.size:
            entry = self.waiting.get(ANSWER.unpack_from(self._incoming)[1])
            if entry is not None and entry[1] <= now:
                self.close()
        for answered, deadline, _ in self.waiting.values():
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
            if number == LEAVING and length == ANSWER.size - 4 and not self.is_leaving:
                self._leave()
                start += ANSWER.size
                continue
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
            self._heard = self._loop.time()
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
        for number, (answered, _, _) in self.waiting.items():
            if not answered.done():
                answered.set_exception(
                    _NotSentError() if number in unsent else Unavailable("The model process ended during the request.")
                )
        self.waiting.clear()

    def _leave(self) -> None:
        """Ask nothing more here; what was asked will be answered."""
        self.is_leaving = True
        if self._unsent:
            self._send()
        if self._transport is not None:
            self._transport.write_eof()

    def _send(self) -> None:
        if not self._unsent:
            return
        transport = self._transport
        if self.is_closed or transport is None:
            return  # connection_lost tells them
        transport.write(b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_numbers.clear()
        self.queued = transport.get_write_buffer_size()


def _too_large() -> FailedPrecondition:
    return FailedPrecondition(f"The model's answer is larger than the {LARGEST_ANSWER} bytes that can be relayed.")
