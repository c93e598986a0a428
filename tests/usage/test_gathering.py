"""What is written together: soon, all of it, at the end too, and again after a failure."""

from __future__ import annotations

import threading

from mlgate.gathering import Gathering


class Written:
    def __init__(self, seconds: float, fails: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.fails = fails
        self.some = threading.Event()
        self._waiting: list[int] = []
        self._lock = threading.Lock()
        self.gathering = Gathering("test", seconds, self._write)

    def put(self, number: int) -> None:
        with self._lock:
            self._waiting.append(number)
        self.gathering.wake()

    def _write(self) -> None:
        with self._lock:
            taken, self._waiting = self._waiting, []
        if self.fails:
            self.fails -= 1
            self.some.set()
            raise OSError("no room")
        if taken:
            self.batches.append(taken)
            self.some.set()


def test_what_comes_meanwhile_is_written_together_and_the_rest_at_the_end() -> None:
    written = Written(3600)
    for number in range(100):
        written.put(number)
    written.gathering.close()
    assert written.batches == [list(range(100))]


def test_it_is_written_without_waiting_for_more() -> None:
    written = Written(0.01)
    for turn in range(3):
        written.some.clear()
        written.put(turn)
        assert written.some.wait(60)
    written.gathering.close()
    assert [one for batch in written.batches for one in batch] == [0, 1, 2]


def test_many_threads_lose_nothing() -> None:
    written = Written(0.001)
    threads = [threading.Thread(target=lambda n=n: [written.put(n * 100 + i) for i in range(100)]) for n in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written.gathering.close()
    assert sorted([one for batch in written.batches for one in batch]) == list(range(800))


def test_a_failure_costs_what_it_had_taken_and_no_more() -> None:
    written = Written(0.01, fails=1)
    written.put(1)
    assert written.some.wait(60)
    written.some.clear()
    written.put(2)
    assert written.some.wait(60)
    written.gathering.close()
    assert written.batches == [[2]]


def test_nothing_that_came_is_nothing_to_end() -> None:
    Written(3600).gathering.close()
