"""Revocation while processes are stopped or killed, and while the database goes away: a write waits or fails, and no
process lies afterwards."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlgate.adapters.db import schema
from mlgate.adapters.db.store import engine_for, sqlite_url
from tests.concurrency.fleet import LAYOUTS, Fleet, Line, P, fleet
from tests.concurrency.kinds import KINDS, Binding, Kind
from tests.concurrency.test_revocation import Askers, asking
from tests.harness import OWNER, PROJECT

ROUNDS = int(os.environ.get("MLGATE_FAULT_ROUNDS", "2"))
SEED = int(os.environ.get("MLGATE_SOAK_SEED", "20261122"))
#: How long the writer waits for an answer while a process is stopped.
SOON = 1.0
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module", params=LAYOUTS)
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(request.param, tmp_path_factory.mktemp("fleet")) as made:
        yield made


@contextmanager
def repeating(step: Callable[[], None]) -> Iterator[None]:
    """Do `step` again and again on a thread, until the block ends or the connection does."""
    stopped = threading.Event()

    def run() -> None:
        with suppress(OSError, http.client.HTTPException):
            while not stopped.is_set():
                step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class Reader(threading.Thread):
    """Reads on one connection without a pause and keeps what it was shown."""

    def __init__(self, line: Line, bearer: str, path: str) -> None:
        super().__init__(daemon=True)
        self.line, self.bearer, self.path = line, bearer, path
        self.stopped = False
        self.shown: set[bytes] = set()
        self.start()

    def run(self) -> None:
        while not self.stopped:
            status, answer = self.line.ask(self.bearer, "GET", self.path)
            if status == 200:
                self.shown.add(answer)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# ------------------------------------------------------------------------------------------------------------- stopped


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_stopped_process_lets_nobody_in_when_it_goes_on(processes: Fleet, make: Callable[[Fleet], Kind]) -> None:
    """A process is stopped at a random moment, under readers and a writer of its own. Access is taken away through
    another process. The write is answered, or waits for the stopped process, which may hold the database's lock; then
    it is answered when that goes on. What was sent to the stopped process after the answer is refused, and what it was
    answering when it stopped shows nothing that was written after."""
    rng, kind = random.Random(SEED), make(processes)
    victim, *others = processes.processes()
    busy, waiting = processes.lines_to(victim, 6), processes.lines_to(victim, 3)
    scribe, bearer = processes.lines_to(victim, 1)[0], processes.bearer(kind.who)
    kind.line = processes.lines_to(rng.choice(others), 1)[0]

    def scribble() -> None:
        body = {"description": str(rng.random())}
        scribe.ask(processes.bearer(), "PATCH", f"{P}/models/scribbled?updateMask=description", body)

    scribe.ask(processes.bearer(), "POST", f"{P}/models", {"name": "scribbled"})
    answered = 0
    for round_ in range(ROUNDS):
        describe(kind, f"before {round_}")
        kind.give()
        readers = [Reader(line, bearer, kind.model) for line in busy]
        taking = threading.Thread(target=take_and_tell, args=(kind, f"after {round_}"))
        with repeating(scribble):
            time.sleep(rng.uniform(0.0, 0.03))  # the random moment itself: there is nothing to wait for
            with stopped(victim):
                taking.start()
                taking.join(SOON)
                was_answered = not taking.is_alive()
                answered += was_answered
                for line in waiting if was_answered else ():
                    line.send(bearer, "GET", kind.model)
            taking.join(60)
            assert not taking.is_alive(), "the write was never answered"
        for line in waiting:
            if not was_answered:
                line.send(bearer, "GET", kind.model)
            assert line.receive()[0] == kind.refused
        for reader in readers:
            reader.stopped = True
            reader.join(60)
        shown = [answer for reader in readers for answer in reader.shown]
        assert not [answer for answer in shown if f"after {round_}".encode() in answer]
    processes.hang_up([*busy, *waiting, scribe, kind.line])
    print(f"{processes.layout} {kind.name}: {answered} of {ROUNDS} writes were answered while a process was stopped")


def describe(kind: Kind, text: str) -> None:
    kind.done("PATCH", f"{kind.model}?updateMask=description", {"description": text})


def take_and_tell(kind: Kind, text: str) -> None:
    """Take access away, and then write what must not be seen any more."""
    kind.take()
    describe(kind, text)


# -------------------------------------------------------------------------------------------------------------- killed


def test_a_policy_write_is_whole_or_absent_when_its_process_is_killed(processes: Fleet) -> None:
    """Writers on one process, which is killed at a random moment. What was answered is there, the write in flight is
    there whole (policy, history and audit log) or not at all, and every other process says the same at once."""
    rng = random.Random(SEED + 1)
    path, resource = f"{P}/models/w", f"projects/{PROJECT}/models/w"
    processes.done("POST", f"{P}/models", {"name": "w"})
    answered: set[str] = set()
    for round_ in range(ROUNDS):
        victim = rng.choice(processes.processes())
        writers = [Writer(line, processes.bearer(), path, f"r{round_}w{n}") for n, line in
                   enumerate(processes.lines_to(victim, 2))]  # fmt: skip
        time.sleep(rng.uniform(0.02, 0.3))  # the random moment itself
        os.kill(victim, signal.SIGKILL)
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive()
            answered |= writer.answered
        stored = {frozenset(members(line, processes.bearer(), path)) for line in survivors(processes, victim)}
        assert len(stored) == 1, "processes disagree"
        (there,) = stored
        assert answered <= there
        assert there - answered - {OWNER} <= {writer.trying for writer in writers}
        answered = set(there) - {OWNER}
        check_written_whole(processes, resource)
        wait_for_all(processes)


class Writer(threading.Thread):
    """Adds one member after the other to a policy, until the connection ends."""

    def __init__(self, line: Line, bearer: str, path: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self.line, self.bearer, self.path, self.prefix = line, bearer, path, prefix
        self.answered: set[str] = set()
        self.trying = ""
        self.start()

    def run(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            for n in range(100_000):
                self.trying = f"user:{self.prefix}n{n}@example.com"
                while not self.added():
                    pass
                self.answered.add(self.trying)

    def added(self) -> bool:
        policy = json.loads(self.line.ask(self.bearer, "GET", f"{self.path}:getIamPolicy")[1])
        held = {binding["role"]: binding["members"] for binding in policy["bindings"]}
        held.setdefault("roles/ml.modelUser", []).append(self.trying)
        policy["bindings"] = [{"role": role, "members": who} for role, who in held.items()]
        status, _ = self.line.ask(self.bearer, "POST", f"{self.path}:setIamPolicy", {"policy": policy})
        assert status in (200, 409)
        return status == 200


def members(line: Line, bearer: str, path: str) -> set[str]:
    status, answer = line.ask(bearer, "GET", f"{path}:getIamPolicy")
    assert status == 200
    return {member for binding in json.loads(answer)["bindings"] for member in binding["members"]}


def survivors(processes: Fleet, victim: int) -> list[Line]:
    """A connection to every process that is there now."""
    alive = [pid for pid in processes.processes() if pid != victim]
    return [processes.lines_to(pid, 1)[0] for pid in alive]


def check_written_whole(processes: Fleet, resource: str) -> None:
    """The stored policy is the newest of its history, and every write of it has its entry in the audit log."""
    policy = processes.done("GET", f"/v1/{resource}:getIamPolicy")
    newest = processes.done("GET", f"/v1/{resource}/iamPolicyRevisions?pageSize=1")["policyRevisions"][0]
    revision = processes.done("GET", f"/v1/{newest['name']}")
    assert revision["policy"] == policy
    server = processes.first
    engine = engine_for(server.database_url or sqlite_url(server.data_dir))
    entries = schema.audit_entries
    query = sa.select(sa.func.count()).where(
        entries.c.resource == resource, entries.c.method.endswith("setIamPolicy"), entries.c.outcome == "OK"
    )
    with engine.connect() as connection, connection.begin():
        written = connection.execute(query).scalar_one()
    engine.dispose()
    assert int(newest["revisionId"]) == written + 1, "a write without its audit entry, or the reverse"


def wait_for_all(processes: Fleet) -> None:
    """Until the supervisor has replaced what was killed."""
    wanted = sum(server.workers for server in processes.servers)
    until = time.monotonic() + 60
    while len(processes.processes()) < wanted:
        assert time.monotonic() < until, "a killed process was not replaced"
        time.sleep(0.05)


def test_a_revocation_whose_process_is_killed_happened_everywhere_or_nowhere(processes: Fleet) -> None:
    """When it was answered, it happened. When it was not, all processes agree on whether it did."""
    rng, kind = random.Random(SEED + 2), Binding(processes, "cut_short")
    for _ in range(ROUNDS):
        kind.line = None
        kind.give()
        victim = rng.choice(processes.processes())
        kind.line = processes.lines_to(victim, 1)[0]
        done: list[bool] = []
        taking = threading.Thread(target=lambda: done.append(takes(kind)))  # noqa: B023  # joined in this round
        taking.start()
        time.sleep(rng.uniform(0.0, 0.012))  # the random moment itself
        os.kill(victim, signal.SIGKILL)
        taking.join(60)
        lines = survivors(processes, victim)
        statuses = {line.ask(processes.bearer(kind.who), "GET", kind.model)[0] for line in lines}
        assert statuses == {403} if done == [True] else statuses in ({200}, {403})
        wait_for_all(processes)


def takes(kind: Kind) -> bool:
    """Whether the write was answered."""
    with suppress(OSError, http.client.HTTPException):
        kind.take()
        return True
    return False


# ------------------------------------------------------------------------------------------------------- the database


def test_when_the_database_hangs_up_on_everybody_nobody_is_let_in_late(tmp_path: Path) -> None:
    """PostgreSQL ends every connection, again and again, under askers and revocations. A call may fail then; nobody is
    let in who must not be, and afterwards all goes on as before."""
    import psycopg

    with fleet("postgres", tmp_path) as processes:
        kind = Binding(processes)
        lines = processes.lines(2)

        def hang_up() -> None:
            with psycopg.connect(processes.first.database_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
            time.sleep(0.2)  # a pause between two cuts, so that something happens in between

        with asking(kind, lines) as askers:
            with repeating(hang_up):
                for _ in range(ROUNDS):
                    insist(kind.give)
                    insist(kind.take)
                    askers.turn()
                    time.sleep(0.1)  # the time in which a late answer would come
                    askers.turn()
            assert askers.late == []
            assert {text[:3] for text in askers.odd} <= {"500", "503"}, askers.odd[:3]
            insist(kind.give)
            let_everybody_in(askers)
            kind.take()
            askers.turn()
            assert askers.wait(403)
        processes.hang_up(lines)


def let_everybody_in(askers: Askers) -> None:
    """Until each connection is let in, past failures of calls that were under way at the last cut."""
    until = time.monotonic() + 60
    while True:
        askers.odd.clear()
        try:
            assert askers.wait(200)
            return
        except AssertionError:
            assert askers.late == []
            assert time.monotonic() < until, askers.odd[:3]


def insist(write: Callable[[], None]) -> None:
    """Until the write is answered well."""
    until = time.monotonic() + 60
    while True:
        try:
            return write()
        except AssertionError:
            assert time.monotonic() < until
