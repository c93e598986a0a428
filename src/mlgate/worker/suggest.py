"""Suggestions that take long: points for all who wait at a study, computed by one task.

The task is safe to repeat. It reads the study, thinks outside any transaction, and in one transaction hands out the
trials, ends the operations and itself. When trials came in between, it thinks again, and after some tries leaves out
the points that were taken. Whoever begins to wait meanwhile gets a task of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlgate import studies
from mlgate.core import lro
from mlgate.core.errors import Internal, ResourceExhausted, RpcError, Unavailable, Unimplemented
from mlgate.ports import Clock, Optimizer, Record, Store, Task, Transaction
from mlgate.studies import Points

#: After so many claims of one task the suggestion itself is taken to be what kills the worker.
MAX_ATTEMPTS = 3
#: A study whose suggestions take less is not slow (any more): the API answers by itself again.
QUICK_SECONDS = 5.0


@dataclass(frozen=True)
class Suggester:
    store: Store
    optimizer: Optimizer
    clock: Clock

    def run(self, task: Task) -> None:
        """Carry it to its end. Raises Unavailable when the optimizer's process died, for the task to be repeated."""
        started = self.clock.now()
        for tries in range(studies.MOST_TRIES):
            study, question = self._look(task)
            if study is None:
                return
            try:
                points = self._points(task, question)
            except (Unimplemented, Internal, Unavailable) as error:
                if isinstance(error, Unavailable) and task.attempts < MAX_ATTEMPTS:
                    raise
                self._give_up(task, study, error)
                return
            stale_is_fine = tries >= studies.FRESH_TRIES
            if self._hand_out(task, study, question, points, started, stale_is_fine=stale_is_fine):
                return
        raise Unavailable(f"{task.body['study']} changes faster than points are computed.")

    def _look(self, task: Task) -> tuple[Record | None, dict[str, Any]]:
        with self.store.read() as tx:
            study = tx.get(task.body["study"])
            if study is not None and study.uid == task.body["uid"]:
                asked = {client: entry["count"] for client, entry in study.hidden["waiting"].items()}
                count = studies.lacking(tx, study, asked)
                told = [studies.told(trial) for trial in studies.trials_of(tx, study.name)]
                return study, studies.question(study, told, count)
        with self.store.write() as tx:  # the study was deleted, and its operations ended with it
            tx.finish(task)
        return None, {}

    def _points(self, task: Task, question: dict[str, Any]) -> Points:
        if task.attempts > MAX_ATTEMPTS:
            raise Internal(f"Thinking about a suggestion was interrupted {MAX_ATTEMPTS} times and is given up.")
        try:
            return self.optimizer.ask(question) if question["count"] else []
        except (Unimplemented, Unavailable):
            raise
        except RpcError as error:
            raise Internal(f"The optimizer failed: {error.message}") from error

    def _hand_out(
        self,
        task: Task,
        before: Record,
        question: dict[str, Any],
        points: Points,
        started: datetime,
        *,
        stale_is_fine: bool,
    ) -> bool:
        """False when trials came in between: think again."""
        with self.store.write() as tx:
            study = tx.get(before.name)
            if study is None or study.uid != before.uid:
                tx.finish(task)
                return True
            is_fresh = study.hidden["next"] == before.hidden["next"]
            if not is_fresh and not stale_is_fine:
                return False
            is_all = is_fresh and len(points) < question["count"]
            points = points if is_fresh else studies.untaken(tx, study, before.hidden["next"], points)
            if not tx.finish(task):
                return True  # another worker has the task: nothing of ours may be stored
            served = [
                client
                for client, entry in before.hidden["waiting"].items()
                if study.hidden["waiting"].get(client) == entry  # else it was cancelled and asked for again
                and self._serve(tx, study, client, entry, points, started, is_all=is_all)
            ]
            studies.waited(tx, study, served)
            if (self.clock.now() - started).total_seconds() < QUICK_SECONDS:
                study.hidden.pop("slow", None)
            tx.update(study)
        return True

    def _serve(
        self,
        tx: Transaction,
        study: Record,
        client: str,
        entry: dict[str, Any],
        points: Points,
        started: datetime,
        *,
        is_all: bool,
    ) -> bool:
        """False when the client needs more points than there are."""
        operation, now = tx.get(entry["operation"]), self.clock.now()
        if operation is None or lro.is_done(operation.body):
            return True  # cancelled
        try:
            found = studies.hand_out(tx, study, client, entry["count"], points, now, is_all=is_all)
        except ResourceExhausted as error:
            operation.body = lro.failed(operation.body, now, error)
        else:
            if found is None:
                return False
            operation.body = lro.succeeded(operation.body, now, studies.response(study, found, started, now))
        tx.update(operation)
        return True

    def _give_up(self, task: Task, before: Record, error: RpcError) -> None:
        with self.store.write() as tx:
            study = tx.get(before.name)
            if not tx.finish(task) or study is None or study.uid != before.uid:
                return
            if not isinstance(error, Unimplemented):
                studies.deactivate(study, error.message)
            for entry in study.hidden["waiting"].values():
                operation = tx.get(entry["operation"])
                if operation is not None and not lro.is_done(operation.body):
                    operation.body = lro.failed(operation.body, self.clock.now(), error)
                    tx.update(operation)
            study.hidden["waiting"] = {}
            tx.update(study)
