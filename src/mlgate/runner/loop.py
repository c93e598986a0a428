"""The runner's loop: jobs, in the order of their priority, as long as there is a slot for another."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from mlgate import job_logs
from mlgate.core import jobs
from mlgate.core.errors import RpcError
from mlgate.ports import Task
from mlgate.runner.batch import Batch
from mlgate.runner.claimed import Claimed, LostLease, log
from mlgate.runner.training import Parts, Training
from mlgate.runner.tuning import Tuning
from mlgate.runner.watched import GRACE_SECONDS
from mlgate.tasks import Stopped, TaskLoop

LOOK_SECONDS = 5.0
#: Each runner that is killed costs one, too.
MOST_ATTEMPTS = 100


@dataclass(kw_only=True)
class Runner(TaskLoop):
    parts: Parts
    _tickets: dict[tuple[str, int], object] = field(default_factory=dict)
    _settled: set[tuple[str, int]] = field(default_factory=set)
    _next_look: float = 0.0

    def may_claim(self) -> bool:
        return super().may_claim() and self.parts.slots.is_free()

    def claimed(self, task: Task) -> None:
        self._tickets[_claim(task)] = self.parts.slots.queue()

    def done(self, task: Task) -> None:
        self.parts.slots.leave(self._tickets.pop(_claim(task)))
        self._settled.discard(_claim(task))

    def lease(self, task: Task) -> float:
        return self.lease_seconds + (self._longest_life() if _claim(task) in self._settled else 0.0)

    def give_back(self, task: Task) -> None:
        """Not what has processes here: it stays this runner's, which takes it up again."""
        if _claim(task) not in self._settled:
            super().give_back(task)

    def settle(self, task: Task) -> None:
        """The job has processes of this machine from now on: whoever takes it over after this runner's silence may be
        sure that they have ended. Raises LostLease."""
        with self.renewing:
            self._settled.add(_claim(task))
            if not self.store.renew(task, self.name, self.clock.now(), self.lease(task)):
                raise LostLease

    def _longest_life(self) -> float:
        """Seconds that processes live at most whose runner is silent: their keepers' patience, and what it takes to end
        them; some more since clocks differ and leases are renewed from time to time."""
        return self.parts.settings.job_patience + 2 * GRACE_SECONDS + self.lease_seconds

    def run_job(self, task: Task) -> None:
        given = self.parts, task, self._tickets[_claim(task)], lambda: self.settle(task)
        try:
            training = Training(*given)
            if "predictionInput" in training.record.body:
                training = Batch(*given)
            elif "hyperparameters" in training.training:
                training = Tuning(*given)
            training.run()
        except LostLease:
            log.info("left to the next runner", task=task.name)
            self.resting[task.name] = time.monotonic() + self.lease_seconds
            if self.stopping.is_set() and _claim(task) not in self._settled:
                raise Stopped from None  # any runner may go on with it, at once
        except Exception:
            if task.attempts < MOST_ATTEMPTS:
                raise  # to be tried again: what was begun is found again
            log.exception("given up", task=task.name)
            message = "The job met an error of the server's again and again; the server's log says more."
            Claimed(self.store, self.clock, task).end(jobs.FAILED, message, dict)

    def keep(self) -> None:
        self.parts.snapshot.refresh()
        now = self.clock.now().timestamp()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look_at_waiting()
            self._forget_ended()

    def _look_at_waiting(self) -> None:
        """Cancel jobs that wait for longer than they may."""
        with self.store.read() as tx:
            names = [task.body["job"] for task in tx.waiting_tasks(jobs.RUN_JOB)]
            late = [n for n in names if (record := tx.get(n)) is not None and self._is_late(record.body)]
        for name in late:
            with self.store.write() as tx:
                record = tx.get(name)
                if record is None or record.body["state"] != jobs.QUEUED:
                    continue
                record.body = jobs.cancel(
                    record.body, self.clock.now(), "The job did not start within its maxWaitTime."
                )
                tx.update(record)
                job_logs.note(tx, record, self.clock.now(), record.body["errorMessage"], job_logs.WARNING)

    def _is_late(self, job: jobs.Json) -> bool:
        deadline = jobs.wait_deadline(job)
        return deadline is not None and self.clock.now() > deadline

    def _forget_ended(self) -> None:
        """Remove what is left of jobs that nobody works on, such as those that ended just before a runner died, and of
        those that another machine's runner has by now."""
        keys = self.parts.runner.executions()
        if not keys:
            return
        with self.store.read() as tx:
            busy = {name.split("/")[3] for name in (*tx.find_tasks(jobs.RUN_JOB, self.name), *list(self.held))}
        for key in keys:
            if key.partition("-")[0] not in busy:
                try:
                    self.parts.runner.forget(key)
                except (OSError, RpcError) as error:
                    log.warning("not forgotten", key=key, error=str(error))


def _claim(task: Task) -> tuple[str, int]:
    """A task is claimed again where its lease ran out, also by the same runner."""
    return task.name, task.fence
