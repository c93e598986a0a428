"""How many rows to ask a model for at once, so that each call takes a moment: between two calls others get answers.

A model whose calls are dear however few their rows are (a large forest's, a network's) is asked for as many as take
about twice as long as its shortest call: with fewer, hardly anything would be done but the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

SECONDS = 0.02
T = TypeVar("T")


class Pace:
    """Kept with a model: what its calls cost is learned by making them."""

    def __init__(self) -> None:
        self.rows = 1
        self._least = float("inf")

    def pieces(self, total: int, most: int) -> Iterator[tuple[int, int]]:
        """Where each piece of so many rows begins and ends; none has more than `most`."""
        start = 0
        while start < total:
            end = min(start + max(1, min(self.rows, most)), total)
            yield start, end
            start = end

    @contextmanager
    def timed(self, rows: int) -> Iterator[None]:
        """Around a call for so many rows."""
        began = time.process_time()  # of this process: that others have the processor makes no call dearer
        yield
        self.took(rows, time.process_time() - began)

    def took(self, rows: int, seconds: float) -> None:
        self._least = min(self._least, seconds)
        enough = max(SECONDS, 2 * self._least)
        if seconds > enough:
            self.rows = max(1, min(self.rows, rows) // 2)
        elif rows >= self.rows:
            more = seconds - self._least  # what the rows cost beyond the call
            self.rows = rows * next((times for times in (4, 2) if self._least + times * more <= enough), 1)


def finished(steps: Generator[None, None, T]) -> T:
    """What they return, done at one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
