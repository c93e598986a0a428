"""Measure contestants: each started on one core, its answers checked, loaded from another core, ended.

A run has rounds, and in each round every contestant has its turn, so that what else the machine does falls on all of
them alike; the page shows medians over the rounds. Every measurement is a line of JSON in the results, written at once.

    {"contestant", "round", "startup_s", "processes", "rss", "pss"}                            a start
    {"contestant", "round", "cell", "per_second", "p50_ms", "p99_ms", "cpu_us", "errors"}      a cell
    {"contestant", "why"}                                                                      it cannot take part
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving import models
from bench.serving.contestants import IN_PROCESS, NOOP, Cell, Contestant
from bench.serving.environments import HOME, OWN, ROOT, MissingError, ensure
from bench.serving.loader import Loader, loader
from bench.serving.processes import Group, cpu_seconds, memory, pin

SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 180
WARM_UP_SECONDS = 1
#: How long a server may take to come to rest after its start: to use so much of a second.
SETTLE_SECONDS, CALM_CPU = 30, 0.05
PEERS = Path(__file__).parent / "peers"
_QUIET = {
    "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1", "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "true", "MLFLOW_DISABLE_ENV_CREATION": "true", "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip

Record = dict[str, Any]


class FailedError(Exception):
    """A contestant cannot take part; says why."""


@dataclass(frozen=True)
class Bench:
    """What is common to a run. `seconds` is the length of one measurement."""

    data: Path
    work: Path
    loader: Loader
    seconds: float
    answers: models.Answers

    @classmethod
    def here(cls, seconds: float) -> Bench:
        """Models from the run before are used again; what servers wrote is not."""
        data, work = models.prepare(HOME / "models"), HOME / "work" / "peers"
        shutil.rmtree(work, ignore_errors=True)
        return cls(data, work, loader(LOAD_CORE), seconds, models.Answers(data))

    def run(
        self, contestants: Sequence[Contestant], cells: Sequence[Cell], rounds: int, say: Callable[[str], None]
    ) -> Iterator[Record]:
        """Records, as they come. A contestant that fails once is not tried again."""
        failed: set[str] = set()
        for number in range(rounds):
            for contestant in contestants:
                if contestant.name in failed:
                    continue
                say(f"round {number + 1}: {contestant.name}")
                try:
                    for record in self._turn(contestant, cells):
                        yield {"contestant": contestant.name, "round": number, **record}
                except (FailedError, MissingError) as error:
                    failed.add(contestant.name)
                    say(f"  {error}")
                    yield {"contestant": contestant.name, "why": str(error)}

    def _turn(self, contestant: Contestant, cells: Sequence[Cell]) -> Iterator[Record]:
        program = ensure(contestant.environment)
        work = self.work / "".join(c if c.isalnum() else "_" for c in contestant.name)
        work.mkdir(parents=True, exist_ok=True)
        asked = [name for name in contestant.models if any(cell.model == name for cell in cells)]
        for served in [[name] for name in asked] if contestant.is_one_model else [asked]:
            its = [cell for cell in cells if cell.model in served]
            if contestant.name == IN_PROCESS:
                yield from self._in_process(contestant, program, work, its)
            elif its:
                with ExitStack() as stack:
                    server = Server(self, contestant, program, work, served)
                    yield stack.enter_context(server.started())
                    for cell in its:
                        yield {"cell": str(cell), **server.loaded(cell)}

    def _in_process(self, contestant: Contestant, program: Path, work: Path, cells: Sequence[Cell]) -> Iterator[Record]:
        """The loop has no connections: each cell of a model and a number of instances gets the same figures."""
        measured: dict[int, Record] = {}
        for cell in cells:
            if cell.instances not in measured:
                body = models.body(self.data, cell.model, cell.instances)
                names = {"python": program / "python", "peers": PEERS, "model": cell.model, "body": body}
                command = shlex.split(contestant.command.format(**names, seconds=self.seconds))
                done = subprocess.run(
                    command, env=self.environ(contestant, program, work), capture_output=True, text=True, check=False,
                    preexec_fn=lambda: pin(SERVER_CORE),
                )  # fmt: skip
                if done.returncode:
                    raise FailedError(_last_words(done.stderr))
                measured[cell.instances] = json.loads(done.stdout)
            yield {"cell": str(cell), **measured[cell.instances], "errors": 0}

    def environ(self, contestant: Contestant, program: Path, work: Path) -> dict[str, str]:
        """Of a contestant's processes: quiet, one thread, and nothing written into anybody's home."""
        path = [str(PEERS)]
        if contestant.environment == OWN:
            path += [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ, **_QUIET, "HOME": str(work), "SERVING_DATA": str(self.data), "BENTOML_HOME": str(work),
            "PATH": f"{program}:{os.environ['PATH']}", "PYTHONPATH": ":".join(path), **contestant.environ,
        }  # fmt: skip


class Server:
    """A contestant's server of some of the models."""

    def __init__(self, bench: Bench, contestant: Contestant, program: Path, work: Path, served: Sequence[str]) -> None:
        self.bench, self.contestant, self.served, self.work = bench, contestant, served, work
        port, port2, port3 = free_ports(3)
        self._names: Mapping[str, Any] = {
            "python": program / "python", "bin": program, "peers": PEERS, "data": bench.data, "work": work,
            "port": port, "port2": port2, "port3": port3, "model": served[0],
        }  # fmt: skip
        self._environ = bench.environ(contestant, program, work)
        self._address = f"http://127.0.0.1:{port}"

    @contextmanager
    def started(self) -> Iterator[Record]:
        """Started and right about everything, with what that took. Raises FailedError."""
        self._prepare()
        token = self.work / "data" / "token"
        self.token = token.read_text() if token.exists() else ""
        log = self.work / "server.log"
        began = time.monotonic()
        command = shlex.split(self.contestant.command.format(**self._names))
        self.group = Group(command, self._environ, self.work, log, SERVER_CORE)
        try:
            self._wait_for_answers(log)
            startup = time.monotonic() - began
            self._check_all()
            self._settle()
            pids = self.group.pids()
            rss, pss = memory(pids)
            yield {"startup_s": startup, "processes": len(pids), "rss": rss, "pss": pss}
        finally:
            self.group.end()

    def loaded(self, cell: Cell) -> Record:
        """A warm-up, then a measurement. Raises FailedError when the contestant has ended."""
        body = models.body(self.bench.data, cell.model, cell.instances, self.contestant.protocol)
        plan = (self._url(cell.model), body, self.token, cell.connections)
        try:
            self.bench.loader.run(*plan, WARM_UP_SECONDS)
            pids = self.group.pids()
            before = cpu_seconds(pids)
            load = self.bench.loader.run(*plan, self.bench.seconds)
            cpu = cpu_seconds(pids) - before
        except RuntimeError as error:
            raise FailedError(str(error)) from None
        if self.group.has_ended():
            raise FailedError(f"it ended under load ({cell}): {_last_words((self.work / 'server.log').read_text())}")
        rss, pss = memory(self.group.pids())
        return {
            "per_second": load.answered / load.seconds, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms,
            "cpu_us": cpu / max(load.answered, 1) * 1e6, "errors": load.errors, "rss": rss, "pss": pss,
        }  # fmt: skip

    def _prepare(self) -> None:
        if self.contestant.prepare:
            command = shlex.split(self.contestant.prepare.format(**self._names))
            done = subprocess.run(
                command, env=self._environ, cwd=self.work, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise FailedError(f"it could not be prepared: {_last_words(done.stderr)}")

    def _wait_for_answers(self, log: Path) -> None:
        """Until each model gave a right answer to one instance."""
        until, last = time.monotonic() + START_SECONDS, "no answer"
        while True:
            try:
                if all(self._is_right(model, 1) for model in self.served):
                    return
                last = "wrong answers"
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read()[:200]!r}"
            except (OSError, ValueError, LookupError, TypeError) as error:
                last = repr(error)
            if self.group.has_ended():
                raise FailedError(f"it did not start: {_last_words(log.read_text(errors='replace'))}")
            if time.monotonic() > until:
                words = _last_words(log.read_text(errors="replace"))
                raise FailedError(f"it did not start in {START_SECONDS} s: {last}; its last words: {words}")
            time.sleep(0.02)

    def _settle(self) -> None:
        """Until it does nothing when nobody asks: what some still do after their start (threads, spare processes) is
        not what a request costs."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            before = cpu_seconds(self.group.pids())
            time.sleep(1)
            if cpu_seconds(self.group.pids()) - before < CALM_CPU:
                return

    def _check_all(self) -> None:
        for model in self.served:
            for size in models.SIZES:
                if not self._is_right(model, size):
                    raise FailedError(f"its answer to {size} instances of {model} is wrong")

    def _is_right(self, model: str, size: int) -> bool:
        body = models.body(self.bench.data, model, size, self.contestant.protocol).read_bytes()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with urllib.request.urlopen(urllib.request.Request(self._url(model), body, headers), timeout=30) as answer:
            decoded = json.loads(answer.read())
        return self.contestant.name == NOOP or self.bench.answers.agree(model, size, decoded)

    def _url(self, model: str) -> str:
        return self._address + self.contestant.path.format(model=model)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def append(results: Path, record: Record) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read(results: Path) -> list[Record]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
