"""Revocation with several processes on one database (T-14): after the answer to the write, no process lets anybody in.

Connections to every process ask without a pause. A round gives access, waits until each connection has been let in,
takes access away, and from the answer on counts every 200 to a question that was sent later: there must be none. The
round ends when each connection has been refused.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.concurrency.fleet import LAYOUTS, Fleet, Line, fleet
from tests.concurrency.kinds import KINDS, Kind

ROUNDS = int(os.environ.get("MLGATE_REVOCATION_ROUNDS", "5"))
EACH = 2
PATIENCE = 60
pytestmark = pytest.mark.xdist_group("revocation")


@pytest.fixture(scope="module", params=LAYOUTS)
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(request.param, tmp_path_factory.mktemp("fleet")) as made:
        yield made


class Askers:
    """Threads that ask the same on a connection each. The phase is odd while access is taken away: it becomes odd after
    the answer to the taking, and even before the next giving is sent. So a 200 to a question that was sent and answered
    in one odd phase is a lie."""

    def __init__(self, kind: Kind, lines: list[Line], bearer: str) -> None:
        self.phase = 0
        self.asked: Counter[int] = Counter()
        self.late: list[str] = []
        self.odd: list[str] = []
        self._kind, self._bearer = kind, bearer
        self._changed = threading.Condition()
        self._last: dict[int, tuple[int, int]] = dict.fromkeys(range(len(lines)), (-1, 0))
        self._stopped = False
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in enumerate(lines)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()

    def _ask(self, n: int, line: Line) -> None:
        while not self._stopped:
            phase = self.phase
            try:
                status, answer = line.ask(self._bearer, "GET", self._kind.model)
            except OSError as error:
                status, answer = 0, repr(error).encode()
            with self._changed:
                self._last[n] = (phase, status)
                self.asked[line.pid] += 1
                if status == 200 and phase % 2 and phase == self.phase:
                    self.late.append(f"process {line.pid}, phase {phase}")
                if status not in (200, self._kind.refused):
                    self.odd.append(f"{status} {answer[:300].decode()}")
                self._changed.notify()

    def turn(self) -> None:
        """The next phase."""
        self.phase += 1

    def wait(self, status: int, seconds: float = PATIENCE) -> bool:
        """Until each connection has had this answer to a question of this phase; False when that takes too long."""
        wanted = (self.phase, status)
        with self._changed:
            done = self._changed.wait_for(
                lambda: self.late or self.odd or all(last == wanted for last in self._last.values()), seconds
            )
        assert self.late == []
        assert self.odd == []
        return bool(done)


@contextmanager
def asking(kind: Kind, lines: list[Line]) -> Iterator[Askers]:
    with Askers(kind, lines, kind.fleet.bearer(kind.who)) as askers:
        yield askers


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_after_the_answer_nobody_is_let_in(processes: Fleet, make: Callable[[Fleet], Kind]) -> None:
    kind = make(processes)
    lines = processes.lines(EACH)
    began, let_in = time.monotonic(), 0
    with asking(kind, lines) as askers:
        for _ in range(ROUNDS):
            kind.give()
            let_in += askers.wait(200, kind.lasts or PATIENCE)
            kind.take()
            askers.turn()
            assert askers.wait(kind.refused), "access taken away is not refused"
            askers.turn()
    processes.hang_up(lines)
    assert let_in == ROUNDS or (kind.lasts and let_in), f"everybody was let in in {let_in} rounds of {ROUNDS}"
    assert set(askers.asked) == set(processes.processes()), "a process was never asked"
    print(
        f"{processes.layout} {kind.name}: {ROUNDS} rounds, {askers.asked.total()} questions to {len(askers.asked)} "
        f"processes, none let in late; {(time.monotonic() - began) / ROUNDS * 1000:.0f} ms a round"
    )
