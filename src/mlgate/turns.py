"""Turns of the event loop: requests that came together begin together, and what they ask of others leaves together.

    poll: bytes of many connections -> one call: every request's first step, then whatever was put off to the end

Work that is the same for all of a turn, such as reading the store's revision or writing to a model's socket, is then
done once; and a step costs neither a task nor a turn of its own.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable


class Turns:
    """Of one event loop. Steps must not raise."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []
        self._last: list[Callable[[], None]] = []
        self._is_running = False

    def begin(self, loop: AbstractEventLoop, step: Callable[[], None]) -> None:
        """Take the step in the next turn, with all others that come until then."""
        if not self._steps:
            loop.call_soon(self._run)
        self._steps.append(step)

    def at_end(self, loop: AbstractEventLoop, last: Callable[[], None]) -> None:
        """Call `last` when all steps of the turn are taken; in a turn of its own when none are being taken."""
        if self._is_running:
            self._last.append(last)
        else:
            loop.call_soon(last)

    def _run(self) -> None:
        steps, self._steps = self._steps, []
        self._is_running = True
        try:
            for step in steps:
                step()
        finally:
            self._is_running = False
        lasts, self._last = self._last, []
        for last in lasts:
            last()


#: Of the one event loop that an API process has.
TURNS = Turns()
