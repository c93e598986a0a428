"""The worker: tasks as `tasks.py` does them, a few at once, and more that wait for a build (builds.py); orphans are
ended and house is kept in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mlgate.ports import Blobs, Task
from mlgate.slots import Slots
from mlgate.snapshot import ServedVersion, Snapshot
from mlgate.tasks import TaskLoop

HOUSEKEEPING_SECONDS = 60.0
#: Blobs younger than this may belong to an upload that is about to be recorded.
BLOB_GRACE_SECONDS = 3600.0
DEPLOY = "deploy_version"
AT_ONCE, MOST_WAITING = 2, 62


class ModelProcesses(Protocol):
    """The model processes of this machine, as the worker looks after them."""

    def running(self) -> list[dict[str, Any]]: ...

    def unload(self, uid: str) -> None: ...

    def scale(self, version: ServedVersion) -> None:
        """Give it the processes that it is never to be without, and the bound that it has now."""


@dataclass(kw_only=True)
class Worker(TaskLoop):
    snapshot: Snapshot
    blobs: Blobs
    models_dir: Path
    processes: ModelProcesses
    #: Of the tasks that are worked on; one that waits for a build is held without.
    places: Slots
    parallel: int = AT_ONCE + MOST_WAITING
    expire: Callable[[datetime], None] = lambda now: None
    _last_revision: int = 0
    _next_housekeeping: float = 0.0

    def may_claim(self) -> bool:
        return super().may_claim() and self.places.is_free()

    def claimed(self, task: Task) -> None:
        self.places.occupy(1)

    def done(self, task: Task) -> None:
        self.places.give_back(1)

    def keep(self) -> None:
        revision = self.snapshot.refresh()
        if revision != self._last_revision:
            self._last_revision = revision
            self._follow()
        now = self.clock.now().timestamp()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_SECONDS
            self.keep_house()

    # ----------------------------------------------------------------------------------------------------- house

    def _follow(self) -> None:
        """End the processes of versions that are served no more, unless a deployment is trying them; give those that
        are served what their scaling says."""
        running = {process["uid"] for process in self.processes.running()}
        trying = {task.body.get("uid") for task in list(self.held.values())}
        served = {v.uid: v for model in list(self.snapshot.served.values()) for v in model.versions.values()}
        for uid in running - served.keys() - trying:
            self.processes.unload(uid)
        for uid, version in served.items():
            if version.low or uid in running:
                self.processes.scale(version)

    def keep_house(self) -> None:
        """Forget expired tokens and uploads, and files that nothing refers to."""
        now = self.clock.now()
        with self.store.write() as tx:
            tx.drop_expired_tokens(now)
        self.expire(now)
        with self.store.read() as tx:
            keep = tx.blob_digests()
            served = [v.hidden["serving"] for v in tx.find("version") if "serving" in v.hidden]
            directories = {digest for s in served for digest in (s["digest"], s.get("packages"), s.get("copy"))}
            busy = tx.find_tasks(DEPLOY)
        self.blobs.sweep(keep, BLOB_GRACE_SECONDS)
        if not busy:
            self._remove_model_directories(directories, now)

    def _remove_model_directories(self, keep: Collection[str | None], now: datetime) -> None:
        for place in self.models_dir.iterdir() if self.models_dir.is_dir() else ():
            age = now - datetime.fromtimestamp(place.stat().st_mtime, UTC)
            if place.name not in keep and age.total_seconds() > BLOB_GRACE_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
