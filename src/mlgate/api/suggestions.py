"""Suggestions of an API process: who waits at a study is served together, one computation at a time.

1. What is there already, the client's pending trials and requested ones, is handed out at once.
2. Else the client waits in line at the study. The points for the first in line are computed outside any transaction.
3. In one transaction everybody in that batch is authorized again and gets trials, if no trial came in between (another
   process, or a person who adds one). Else the points are computed again; after some tries those that nobody has taken
   are good enough, so that every round brings somebody forward. Processes that look at the same trials compute the
   same points, so who was late asks for as many more as came in between.

What takes long, many trials for one client or a study that has shown to be slow, is a running operation instead, which
the worker ends (`worker/suggest.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from mlgate import studies
from mlgate.api import operations
from mlgate.api.call import Call, Services
from mlgate.api.messages.operations import Operation
from mlgate.core import lro
from mlgate.core.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    RpcError,
    Unavailable,
    Unimplemented,
)
from mlgate.core.names import parent_of
from mlgate.ports import Author, Record, Transaction
from mlgate.studies import Points

#: How many points are computed at a time, and so at most for one client whom the API serves itself.
BATCH = 16

T = TypeVar("T")


@dataclass(eq=False)
class _Client:
    """Somebody in line."""

    call: Call
    id: str
    count: int
    answer: asyncio.Future[Operation]


@dataclass(eq=False)
class _Line:
    clients: list[_Client] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None


async def suggest(call: Call, client_id: str, count: int) -> Operation:
    """The operation that gives a client its trials, done unless it takes long. Raises ResourceExhausted."""
    at_once = await call.on_thread(lambda tx: _at_once(call, tx, client_id, count), write=True)
    if at_once is not None:
        return at_once
    lines: dict[str, _Line] = call.services.waiting
    line = lines.setdefault(call.resource, _Line())
    client = _Client(call, client_id, count, asyncio.get_running_loop().create_future())
    line.clients.append(client)
    if line.serving is None:
        line.serving = asyncio.create_task(_serve(call.services, call.resource, line))
    return await client.answer


def _at_once(call: Call, tx: Transaction, client_id: str, count: int) -> Operation | None:
    """None where points have to be computed first."""
    call.tx = tx
    study = call.record(call.resource, studies.STUDY)
    running = study.hidden["waiting"].get(client_id)
    if running is not None:
        operation = call.record(running["operation"], studies.OPERATION)
        if not lro.is_done(operation.body):  # a cancelled one is
            return operations.message(operation)
    needed = studies.lacking(tx, study, {client_id: count})
    if needed > BATCH or (needed and study.hidden.get("slow")):
        return _leave(call, study, client_id, count)
    return _hand_out(call, study, client_id, count, [], is_all=False)


def _hand_out(
    call: Call, study: Record, client_id: str, count: int, points: Points, *, is_all: bool
) -> Operation | None:
    now = call.services.clock.now()  # the call may have waited for a while
    found = studies.hand_out(call.tx, study, client_id, count, points, now, is_all=is_all)
    if found is None:
        return None
    call.tx.update(study)
    record = _begun(call, study, client_id, count)
    record.body = lro.succeeded(record.body, now, studies.response(study, found, call.now, now))
    call.tx.update(record)
    return operations.message(record)


def _leave(call: Call, study: Record, client_id: str, count: int) -> Operation:
    record = _begun(call, study, client_id, count)
    studies.leave_to_worker(call.tx, study, client_id, count, record.name)
    call.tx.update(study)
    return operations.message(record)


def _begun(call: Call, study: Record, client_id: str, count: int) -> Record:
    location = parent_of(study.name) or ""
    return operations.begin_of_study(
        call, location, lro.SUGGEST_TYPE, study=study.name, suggestionCount=count, clientId=client_id
    )


# ------------------------------------------------------------------------------------------------------------- line


async def _serve(services: Services, study: str, line: _Line) -> None:
    """Serve the line until nobody is in it."""
    while line.clients:
        batch = _batch(line.clients)
        del line.clients[: len(batch)]
        try:
            await _serve_batch(services, study, batch)
        except Exception as error:  # noqa: BLE001  # each caller hears of it, and the line goes on
            for client in batch:
                _end(client, error)
    del services.waiting[study]


def _batch(clients: Sequence[_Client]) -> list[_Client]:
    """The first in line, as many as a computation has points for; a client that asks twice is served in two batches,
    so that the second request gets the same trials."""
    batch: list[_Client] = []
    for client in clients:
        asked = sum(c.count for c in batch) + client.count
        if batch and (asked > BATCH or client.id in {c.id for c in batch}):
            break
        batch.append(client)
    return batch


def _end(client: _Client, outcome: Operation | Exception) -> None:
    if client.answer.done():
        return
    if isinstance(outcome, Exception):
        client.answer.set_exception(outcome)
    else:
        client.answer.set_result(outcome)


async def _serve_batch(services: Services, study: str, batch: list[_Client]) -> None:
    """Raises what everybody in the batch is to hear."""
    spare = 0
    for tries in range(studies.MOST_TRIES):
        look = partial(_look, services, study, batch, spare)
        before, question = await on_executor(services, look)
        round_ = _Round(services, before, question["count"], tries >= studies.FRESH_TRIES)
        try:
            round_.points = await think(services, question) if question["count"] else []
        except (DeadlineExceeded, Unavailable):
            round_.is_slow = True
        except (Unimplemented, FailedPrecondition):
            raise
        except RpcError as error:
            round_.fault = f"The optimizer failed: {error.message}"
        outcomes = await on_executor(services, lambda r=round_, b=batch: r.hand_out(b))  # type: ignore[misc]
        for client, outcome in outcomes.items():
            _end(client, outcome)
        batch = [client for client in batch if client not in outcomes]
        if not batch:
            return
        spare = min(round_.came_between, BATCH)
    raise Aborted(f"{study} changes faster than points are computed; retry.")


def _look(services: Services, name: str, batch: list[_Client], spare: int) -> tuple[Record, dict[str, Any]]:
    with services.store.read() as tx:
        study = tx.get(name)
        if study is None or study.kind != studies.STUDY:
            raise NotFound(f"Resource '{name}' was not found.")
        count = studies.lacking(tx, study, {client.id: client.count for client in batch})
        told = services.completed.told(tx, study) if count else []
        return study, studies.question(study, told, count + spare if count else 0)


@dataclass
class _Round:
    """Points for a study as it was, or why there are none."""

    services: Services
    before: Record
    count: int
    stale_is_fine: bool
    points: Points = field(default_factory=list)
    fault: str = ""
    is_slow: bool = False
    came_between: int = 0

    def hand_out(self, batch: Sequence[_Client]) -> dict[_Client, Operation | Exception]:
        """What became of each client; who needs points that are not there is left out."""
        outcomes: dict[_Client, Operation | Exception] = {}
        with self.services.store.write() as tx:
            study = tx.get(self.before.name)
            if study is None or study.uid != self.before.uid:
                raise NotFound(f"Resource '{self.before.name}' was not found.")
            self.came_between = study.hidden["next"] - self.before.hidden["next"]
            is_fresh = not self.came_between
            if not (is_fresh or self.stale_is_fine or self.fault or self.is_slow):
                return {}
            points = self.points if is_fresh else studies.untaken(tx, study, self.before.hidden["next"], self.points)
            is_all = is_fresh and not self.is_slow and len(points) < self.count
            if self.fault:
                studies.deactivate(study, self.fault)
            if self.is_slow:
                study.hidden["slow"] = True
            for client in batch:
                try:
                    outcome = self._one(tx, study, client, points, is_all)
                except RpcError as error:
                    outcome = error
                if outcome is not None:
                    outcomes[client] = outcome
        return outcomes

    def _one(
        self, tx: Transaction, study: Record, client: _Client, points: Points, is_all: bool
    ) -> Operation | Exception | None:
        call = client.call
        call.tx = tx
        call.authorize()  # nobody else can write now: this answer still holds at the commit
        tx.author = Author(call.principal, call.now)
        if self.is_slow:
            return _leave(call, study, client.id, client.count)
        return _hand_out(call, study, client.id, client.count, points, is_all=is_all)


# --------------------------------------------------------------------------------------------------------- thinking


async def think(services: Services, question: dict[str, Any]) -> Any:
    """The optimizer's answer; the event loop goes on meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, services.optimizer.ask, question)


async def on_executor(services: Services, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(services.executor, work)
