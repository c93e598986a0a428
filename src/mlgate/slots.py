"""How much is done at once, of jobs' processes, deployments or builds. Whoever waits longest is served first, so a
cluster of many processes is not starved by many small jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slots:
    def __init__(self, count: int) -> None:
        self.count = count
        self._taken = 0
        self._queue: list[object] = []
        self._changed = threading.Condition()

    def is_free(self) -> bool:
        """Whether somebody new would find a slot at once."""
        with self._changed:
            return self._taken < self.count and not self._queue

    def queue(self) -> object:
        """A place in the queue, for `take`."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        return ticket

    def is_queued(self, ticket: object) -> bool:
        with self._changed:
            return ticket in self._queue

    def leave(self, ticket: object) -> None:
        with self._changed:
            if ticket in self._queue:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def take(self, ticket: object, wanted: int, is_wanted: Callable[[], bool], seconds: float = 1.0) -> bool:
        """Wait for this ticket's turn and for so many slots; False, and the place is lost, once `is_wanted`, which is
        asked every few seconds, says no."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_next(ticket, wanted), seconds):
                    self._queue.remove(ticket)
                    self._taken += wanted
                    self._changed.notify_all()
                    return True
            try:
                go_on = is_wanted()
            except BaseException:
                self.leave(ticket)
                raise
            if not go_on:
                self.leave(ticket)
                return False

    def try_take(self, wanted: int) -> bool:
        """At once, or not at all."""
        with self._changed:
            if self._queue or self._taken + wanted > self.count:
                return False
            self._taken += wanted
            return True

    def occupy(self, wanted: int) -> None:
        """For what runs already: there may be more of it than there are slots."""
        with self._changed:
            self._taken += wanted

    def give_back(self, count: int) -> None:
        with self._changed:
            self._taken -= count
            self._changed.notify_all()

    def _is_next(self, ticket: object, wanted: int) -> bool:
        return self._queue[0] is ticket and self._taken + wanted <= self.count
