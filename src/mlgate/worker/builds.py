"""Environments are built one after the other, in a queue of their own: a build may take minutes, and whoever waits for
one leaves the place among the tasks that are worked on to others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from mlgate.ports import Environment, Environments
from mlgate.slots import Slots
from mlgate.tasks import Stopped


@dataclass(frozen=True)
class Builds:
    environments: Environments
    #: One of these is held by whoever calls `build`.
    places: Slots
    stopping: threading.Event
    _turn: Slots = field(default_factory=lambda: Slots(1))

    def build(
        self, runtime_version: str, python_version: str, framework: str, is_wanted: Callable[[], bool]
    ) -> Environment:
        """What `Environments.python` gives, in its turn. Raises Stopped when the process ends before that, or when
        `is_wanted`, which is asked again and again, says no; and what `is_wanted` raises."""

        def goes_on() -> bool:
            return not self.stopping.is_set() and is_wanted()

        self.places.give_back(1)
        try:
            self._wait(self._turn, goes_on)
            try:
                if not goes_on():
                    raise Stopped
                environment = self.environments.python(runtime_version, python_version, framework)
            finally:
                self._turn.give_back(1)
            self._wait(self.places, goes_on)
        except BaseException:
            self.places.occupy(1)  # for the moment that it takes to end
            raise
        return environment

    def _wait(self, slots: Slots, goes_on: Callable[[], bool]) -> None:
        if not slots.take(slots.queue(), 1, goes_on):
            raise Stopped
