"""The loop of a process that does tasks: claim one under a lease, do it on a thread, renew the lease, until stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from mlgate.ports import Clock, Store, Task

log = structlog.get_logger("mlgate.tasks")

POLL_SECONDS = 0.1
#: A task that failed is tried again after these.
REST_SECONDS = 1.0


class Stopped(Exception):
    """A handler leaves its task to whoever claims it next, because the process ends: no fault."""


@dataclass
class TaskLoop:
    name: str
    store: Store
    clock: Clock
    lease_seconds: float
    #: What to do with a task of each kind.
    handlers: Mapping[str, Callable[[Task], None]]
    parallel: int = 2
    held: dict[str, Task] = field(default_factory=dict)
    #: Tasks that failed here, and when (monotonic) they may be tried again.
    resting: dict[str, float] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    #: Held while a lease is made longer, so that a short one is not the last that is written.
    renewing: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until `stop`. A fault of the store is logged and tried again: the loop itself never ends by one."""
        threading.Thread(target=self._renew_leases, name="leases", daemon=True).start()
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="task") as pool:
            while not self.stopping.wait(POLL_SECONDS):
                try:
                    while self.may_claim() and self._claim_one(pool):
                        pass
                    self.keep()
                except Exception:  # the loop of a process: see above
                    log.exception("fault")

    def stop(self) -> None:
        self.stopping.set()

    def may_claim(self) -> bool:
        return len(self.held) < self.parallel

    def keep(self) -> None:
        """What is done between the tasks, each round."""

    def _claim_one(self, pool: ThreadPoolExecutor) -> bool:
        now = time.monotonic()
        for name in [name for name, until in list(self.resting.items()) if until <= now]:
            del self.resting[name]
        held = {*list(self.held), *list(self.resting)}
        task = self.store.claim(self.name, self.clock.now(), self.lease_seconds, self.handlers, held)
        if task is None:
            return False
        log.info("task", name=task.name, kind=task.kind, attempt=task.attempts)
        self.held[task.name] = task
        self.claimed(task)
        pool.submit(self._do, task)
        return True

    def claimed(self, task: Task) -> None:
        """Called before a task is begun."""

    def lease(self, task: Task) -> float:
        """How long a task is nobody else's after it was last seen to."""
        return self.lease_seconds

    def done(self, task: Task) -> None:
        """Called when a task's thread is through with it, however it went."""

    def _do(self, task: Task) -> None:
        try:
            self.handlers[task.kind](task)
        except Stopped:
            self.store.release(task, self.clock.now(), delay_seconds=0.0)
        except Exception:  # given back, to be tried again; the handlers know when it is too often
            log.exception("task failed", name=task.name, attempt=task.attempts)
            self.resting[task.name] = time.monotonic() + REST_SECONDS
            self.give_back(task)
        finally:
            if self.held.get(task.name) is task:  # else it was claimed again by now, after its lease had run out
                del self.held[task.name]
            self.done(task)

    def give_back(self, task: Task) -> None:
        """A task that failed is anybody's."""
        self.store.release(task, self.clock.now(), REST_SECONDS)

    def _renew_leases(self) -> None:
        while not self.stopping.wait(self.lease_seconds / 3):
            for task in list(self.held.values()):
                try:
                    with self.renewing:
                        self.store.renew(task, self.name, self.clock.now(), self.lease(task))
                except Exception:  # the lease runs on; the next round tries again
                    log.exception("lease not renewed", name=task.name)
