"""How many processes a version has: by rule, and with real processes that come and go without losing a request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters.hosts import scaling
from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.sandbox import Sandbox
from mlgate.adapters.hosts.scaling import Holding, Seen
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.core.errors import DeadlineExceeded, Unavailable
from mlgate.ports import ModelSpec, Scaling
from tests.hosts.models import iris, model_class, spec

IDLE = 900.0
ROW = b'{"instances":[[5.1,3.5,1.4,0.2]]}'

# ------------------------------------------------------------------------------------------------------------ rules

BUSY, CALM = Seen(1, 5.0, 0.0, 0.0), Seen(3, 0.0, 100.0, 1.0)

WANTED: list[tuple[str, Seen, Scaling, int]] = [
    ("none stays none", Seen(0, 0.0, 0.0, 10.0), Scaling(0, 4), 0),
    ("one that is used stays", Seen(1, 0.0, 0.0, 1.0), Scaling(0, 4), 1),
    ("a crowd brings one more", BUSY, Scaling(0, 4), 2),
    ("but never more than may be", Seen(4, 5.0, 0.0, 0.0), Scaling(0, 4), 4),
    ("a short crowd brings none", Seen(1, 1.0, 0.0, 0.0), Scaling(0, 4), 1),
    ("calm takes one away", CALM, Scaling(0, 4), 2),
    ("the last one stays while it is used", Seen(1, 0.0, 100.0, 1.0), Scaling(0, 4), 1),
    ("nobody asks: none", Seen(2, 0.0, 1000.0, IDLE), Scaling(0, 4), 0),
    ("nobody asks, but it is never to be without", Seen(3, 0.0, 1000.0, IDLE), Scaling(2, 4), 2),
    ("fixed stays fixed, however crowded", Seen(2, 50.0, 0.0, 0.0), Scaling(2, 2), 2),
    ("too few are made up for", Seen(0, 0.0, 0.0, IDLE), Scaling(3, 3), 3),
    ("a smaller bound counts at once", Seen(4, 0.0, 0.0, 0.0), Scaling(0, 2), 2),
]


@pytest.mark.parametrize(("seen", "given", "number"), [row[1:] for row in WANTED], ids=[row[0] for row in WANTED])
def test_the_number_of_processes(seen: Seen, given: Scaling, number: int) -> None:
    assert scaling.wanted(seen, given, IDLE) == number


def test_a_crowd_waits_and_computes() -> None:
    assert scaling.is_crowded(1, 20, 0.9)
    assert not scaling.is_crowded(2, 20, 0.9)
    assert not scaling.is_crowded(1, 20, 0.1), "a process that waits for others is not helped by another"


HELD = [
    Holding("a", 100, 50.0, 100.0, 0),
    Holding("b", 100, 10.0, 100.0, 0),
    Holding("kept", 100, 90.0, 100.0, 1),
    Holding("d", 100, 70.0, 100.0, 0),
    Holding("starting", 100, 80.0, 0.0, 0),
    Holding("busy", 100, 0.5, 20.0, 0),
    Holding("busy for long", 100, 0.1, 30.0, 0),
]


@pytest.mark.parametrize(
    ("needed", "budget", "least_idle", "ended"),
    [
        (100, 800, 2.0, []),
        (100, 799, 2.0, ["d"]),
        (100, 600, 2.0, ["d", "a"]),
        (100, 500, 2.0, ["d", "a", "b"]),
        (100, 400, 2.0, None),
        (100, 400, 0.0, ["d", "a", "b", "busy for long"]),
        (100, 300, 0.0, ["d", "a", "b", "busy for long", "busy"]),
        (100, 200, 0.0, None),
    ],
)
def test_who_makes_room(needed: int, budget: int, least_idle: float, ended: list[str] | None) -> None:
    """Whoever was not asked for longest first; what is kept, or starting, never."""
    assert scaling.to_evict(HELD, needed, budget, least_idle) == ended


# -------------------------------------------------------------------------------------------------- real processes


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    over = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < over, holds
        time.sleep(0.05)


class Scene:
    """A supervisor, whose clock can be set forward, and callers."""

    def __init__(self, folder: Path, sandbox: Sandbox, **options: Any) -> None:
        self.ahead = 0.0
        self.lines: list[str] = []
        self.supervisor = ModelSupervisor(
            folder / "run",
            sandbox,
            on_log=lambda uid, line: self.lines.append(f"{uid}: {line}"),
            monotonic=lambda: time.monotonic() + self.ahead,
            **options,
        )

    def pids(self, uid: str) -> list[int]:
        rows = self.supervisor.running()
        return [row["pid"] for row in rows if row["uid"] == uid and row["state"] == "RUNNING"]

    def ask(self, made: ModelSpec, body: bytes = ROW, timeout: float = 60.0) -> bytes:
        async def once() -> bytes:
            host = SocketModelHost(self.supervisor.run_dir)
            try:
                return (await host.predict(made, body, timeout)).body
            finally:
                await host.close()

        return asyncio.run(once())


@contextmanager
def scene(folder: Path, sandbox: Sandbox, **options: Any) -> Iterator[Scene]:
    made = Scene(folder, sandbox, **options)
    try:
        yield made
    finally:
        made.supervisor.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scaling")


async def asking(host: SocketModelHost, made: ModelSpec, callers: int, stop: asyncio.Event) -> list[Any]:
    """Callers that each ask again as soon as they are answered; everything that was not the right answer."""
    wrong: list[Any] = []
    count = 0

    async def caller() -> None:
        nonlocal count
        while not stop.is_set():
            try:
                answer = await host.predict(made, ROW, 60)
                if answer.body != b'{"predictions":[0]}':
                    wrong.append(answer)
            except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
                wrong.append(error)
            count += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    assert count > callers
    return wrong


def test_processes_come_and_leave_without_losing_a_request(folder: Path, sandbox: Sandbox) -> None:
    made = spec(folder, iris(), "many")
    with scene(folder, sandbox, most_processes=3) as stage:

        async def body() -> list[Any]:
            host, stop = SocketModelHost(stage.supervisor.run_dir), asyncio.Event()
            await host.predict(made, ROW, 60)
            load = asyncio.ensure_future(asking(host, made, 16, stop))

            async def scaled(low: int, high: int) -> None:
                given = ModelSpec("many", made.directory, made.framework, made.python, scaling=Scaling(low, high))
                await asyncio.to_thread(stage.supervisor.scale, given)
                await asyncio.to_thread(until, lambda: len(stage.pids("many")) == high)
                await asyncio.sleep(0.3)

            for low, high in ((3, 3), (1, 1), (2, 2), (1, 1)):
                await scaled(low, high)
            stop.set()
            wrong = await load
            await host.close()
            return wrong

        assert asyncio.run(body()) == []


def test_all_processes_of_a_version_are_asked(folder: Path, sandbox: Sandbox) -> None:
    name = "time.sleep(0.05)\nreturn [self.__dict__.setdefault('name', os.urandom(4).hex())] * len(x)"
    made = spec(folder, model_class(name), "two", scaling=Scaling(2, 2))
    with scene(folder, sandbox, most_processes=2) as stage:
        stage.supervisor.scale(made)
        until(lambda: len(stage.pids("two")) == 2)

        async def body() -> set[str]:
            host = SocketModelHost(stage.supervisor.run_dir)
            answers = await asyncio.gather(*(host.predict(made, ROW, 60) for _ in range(20)))
            await host.close()
            return {json.loads(answer.body)["predictions"][0] for answer in answers}

        assert len(asyncio.run(body())) == 2


def test_a_version_that_nobody_asks_for_ends_and_comes_back(folder: Path, sandbox: Sandbox) -> None:
    made, kept = spec(folder, iris(), "idle"), spec(folder, iris(), "kept", scaling=Scaling(1, 1))
    with scene(folder, sandbox, idle_seconds=IDLE) as stage:
        stage.supervisor.load(made)
        stage.supervisor.load(kept)
        stage.ahead += IDLE - 60
        stage.ask(made)
        stage.ahead += IDLE - 60
        time.sleep(1.5)
        assert stage.pids("idle")
        stage.ahead += 120
        until(lambda: not stage.pids("idle"))
        assert stage.pids("kept"), "minNodes keeps it"
        assert stage.ask(made) == b'{"predictions":[0]}'
        assert "idle: The version's processes are ended: nobody asks for them." in stage.lines


def test_versions_take_turns_in_a_memory_that_holds_few(folder: Path, sandbox: Sandbox) -> None:
    versions = [spec(folder, iris(), f"v{n}") for n in range(4)]
    with scene(folder, sandbox, memory_bytes=200 << 20) as stage:
        for made in (*versions, *versions[:2]):
            assert stage.ask(made) == b'{"predictions":[0]}'
            assert len({row["uid"] for row in stage.supervisor.running()}) <= 3
        assert any("to make room" in line for line in stage.lines)


def test_what_is_never_to_be_without_a_process_is_not_evicted(folder: Path, sandbox: Sandbox) -> None:
    kept = [spec(folder, iris(), f"kept{n}", scaling=Scaling(1, 1)) for n in range(2)]
    other = spec(folder, iris(), "other")
    with scene(folder, sandbox, memory_bytes=150 << 20) as stage:
        for made in kept[:1]:
            stage.supervisor.scale(made)
            until(lambda uid=made.uid: stage.pids(uid))  # type: ignore[misc]
        with pytest.raises(Unavailable, match=r"no memory for one more model process.*models_memory"):
            stage.ask(other)
        assert stage.pids("kept0")


def test_a_spare_makes_a_cold_start_short(folder: Path, confined: Sandbox) -> None:
    first, second = spec(folder, iris(), "first"), spec(folder, iris(), "second")
    with scene(folder, confined, spares=1) as stage:
        stage.supervisor.load(first)
        until(lambda: stage.supervisor._spares.count() == 1)
        began = time.monotonic()
        assert stage.ask(second) == b'{"predictions":[0]}'
        taken = time.monotonic() - began
        until(lambda: stage.supervisor._spares.count() == 1)
        print(f"a cold start with a spare: {taken * 1000:.0f} ms")
        (pid,) = stage.pids("second")
        os.kill(pid, signal.SIGKILL)
        until(lambda: stage.pids("second") not in ([], [pid]))
        assert stage.ask(second) == b'{"predictions":[0]}'


def test_a_spare_that_died_is_not_missed(folder: Path, sandbox: Sandbox) -> None:
    first, second = spec(folder, iris(), "first"), spec(folder, iris(), "second")
    with scene(folder, sandbox, spares=1) as stage:
        stage.supervisor.load(first)
        until(lambda: stage.supervisor._spares.count() == 1)
        (waiting,) = stage.supervisor._spares._waiting.values()
        os.kill(waiting[0].pid(), signal.SIGKILL)
        assert stage.ask(second) == b'{"predictions":[0]}'


def test_a_spare_sees_only_the_files_that_it_is_given(folder: Path, confined: Sandbox) -> None:
    secret = spec(folder, iris(), "secret")
    look = f"""
try:
    open({secret.directory + "/model.joblib"!r})
    seen = True
except OSError:
    seen = False
return [[seen, sorted(os.listdir(os.environ["HOME"] + "/model"))]]"""
    nosy = spec(folder, model_class(look), "nosy")
    with scene(folder, confined, spares=1) as stage:
        stage.supervisor.load(spec(folder, iris(), "first"))
        until(lambda: stage.supervisor._spares.count() == 1)
        assert json.loads(stage.ask(nosy))["predictions"] == [[False, ["model.joblib"]]]


HANG = "if x[0][0] < 0:\n    signal.setitimer(signal.ITIMER_REAL, 0)\n    time.sleep(3600)\nreturn x[:, 0]"


def test_a_hung_model_is_killed_and_another_process_answers(folder: Path, sandbox: Sandbox) -> None:
    """Even one that turned its own alarm off."""
    hung = spec(folder, model_class(HANG), "hung", seconds=1.0)
    with scene(folder, sandbox) as stage:

        async def body() -> None:
            host = SocketModelHost(stage.supervisor.run_dir)
            await host.predict(hung, b'{"instances":[[7.0]]}', 60)
            with pytest.raises(DeadlineExceeded):
                await host.predict(hung, b'{"instances":[[-1.0]]}', 1.0)
            answer = await host.predict(hung, b'{"instances":[[7.0]]}', 60)
            assert answer.body == b'{"predictions":[7.0]}'
            await host.close()

        before = time.monotonic()
        asyncio.run(body())
        assert time.monotonic() - before < 60
        until(lambda: stage.supervisor.running()[0]["restarts"] == 1)


def test_killed_again_and_again_only_what_is_inside_fails(folder: Path, sandbox: Sandbox) -> None:
    made = spec(folder, iris(), "target")
    with scene(folder, sandbox, spares=1) as stage:

        async def body() -> tuple[list[Any], int]:
            host, stop = SocketModelHost(stage.supervisor.run_dir), asyncio.Event()
            await host.predict(made, ROW, 60)
            load = asyncio.ensure_future(asking(host, made, 8, stop))
            killed = 0
            while killed < 8:
                for pid in stage.pids("target"):
                    with suppress(ProcessLookupError):  # it has gone with the last kill, and is not reaped yet
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                await asyncio.sleep(0.2)
            await asyncio.sleep(1)
            stop.set()
            wrong = await load
            assert (await host.predict(made, ROW, 60)).status == 200
            await host.close()
            return wrong, killed

        wrong, killed = asyncio.run(body())
        assert {type(one) for one in wrong} <= {Unavailable}, wrong
        assert {str(one) for one in wrong} <= {"The model process ended during the request."}
        assert len(wrong) <= 8 * killed


def test_requests_for_different_versions_are_never_predicted_together(folder: Path, sandbox: Sandbox) -> None:
    """Each version's process sees its own rows alone: `predict` answers with how many it was given, and which."""
    source = "return [[len(x), float(x.min()), float(x.max())]] * len(x)"
    versions = [spec(folder, model_class(source), f"own{n}") for n in range(3)]
    with scene(folder, sandbox) as stage:

        async def body() -> None:
            host = SocketModelHost(stage.supervisor.run_dir)

            async def one(n: int, made: ModelSpec) -> None:
                answer = await host.predict(made, json.dumps({"instances": [[n]]}).encode(), 60)
                (given,) = json.loads(answer.body)["predictions"]
                assert given[1:] == [n, n], given

            await asyncio.gather(*(one(n, made) for _ in range(50) for n, made in enumerate(versions)))
            await host.close()

        asyncio.run(body())
