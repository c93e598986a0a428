"""The worker's loop: claim a task under a lease, do it on a thread, renew the lease; keep house in between."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from mlgate.ports import Blobs, Clock, Store, Task
from mlgate.snapshot import Snapshot

log = structlog.get_logger("mlgate.worker")

POLL_SECONDS = 0.1
HOUSEKEEPING_SECONDS = 60.0
#: Blobs younger than this may belong to an upload that is about to be recorded.
BLOB_GRACE_SECONDS = 3600.0


@dataclass
class Worker:
    name: str
    store: Store
    snapshot: Snapshot
    blobs: Blobs
    clock: Clock
    lease_seconds: float
    models_dir: Path
    #: What to do with a task of each kind.
    handlers: Mapping[str, Callable[[Task], None]]
    #: (running model processes, end one): the ones that nothing serves any more are ended.
    processes: tuple[Callable[[], list[dict[str, Any]]], Callable[[str], None]]
    expire: Callable[[datetime], None] = lambda now: None
    parallel: int = 2
    _held: dict[str, Task] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`. A fault of the store is logged and tried again: the loop itself never ends by one."""
        threading.Thread(target=self._renew_leases, name="leases", daemon=True).start()
        last_revision, next_housekeeping = 0, 0.0
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="task") as pool:
            while not self._stopping.wait(POLL_SECONDS):
                try:
                    if len(self._held) < self.parallel:
                        self._claim_one(pool)
                    revision = self.snapshot.refresh()
                    if revision != last_revision:
                        last_revision = revision
                        self._end_orphans()
                    now = self.clock.now().timestamp()
                    if now >= next_housekeeping:
                        next_housekeeping = now + HOUSEKEEPING_SECONDS
                        self.keep_house()
                except Exception:  # the worker's loop: see above
                    log.exception("fault")

    def stop(self) -> None:
        self._stopping.set()

    # ----------------------------------------------------------------------------------------------------- tasks

    def _claim_one(self, pool: ThreadPoolExecutor) -> None:
        task = self.store.claim(self.name, self.clock.now(), self.lease_seconds)
        if task is None:
            return
        log.info("task", name=task.name, kind=task.kind, attempt=task.attempts)
        self._held[task.name] = task
        pool.submit(self._do, task)

    def _do(self, task: Task) -> None:
        try:
            self.handlers[task.kind](task)
        except Exception:  # given back, to be tried again until its attempts are used up
            log.exception("task failed", name=task.name, attempt=task.attempts)
            self.store.release(task, self.clock.now(), delay_seconds=1.0)
        finally:
            self._held.pop(task.name, None)

    def _renew_leases(self) -> None:
        while not self._stopping.wait(self.lease_seconds / 3):
            for task in list(self._held.values()):
                try:
                    self.store.renew(task, self.name, self.clock.now(), self.lease_seconds)
                except Exception:  # the lease runs on; the next round tries again
                    log.exception("lease not renewed", name=task.name)

    # ----------------------------------------------------------------------------------------------------- house

    def _end_orphans(self) -> None:
        """End the processes of versions that are served no more, unless a deployment is trying them."""
        running, unload = self.processes
        trying = {task.body.get("uid") for task in list(self._held.values())}
        served = {v.uid for model in list(self.snapshot.served.values()) for v in model.versions.values()}
        for process in running():
            if process["uid"] not in served and process["uid"] not in trying:
                unload(process["uid"])

    def keep_house(self) -> None:
        """Forget expired tokens and uploads, and files that nothing refers to."""
        now = self.clock.now()
        with self.store.write() as tx:
            tx.drop_expired_tokens(now)
        self.expire(now)
        with self.store.read() as tx:
            keep = tx.blob_digests()
            served = [v.hidden["serving"] for v in tx.find("version") if "serving" in v.hidden]
            directories = {digest for s in served for digest in (s["digest"], s.get("packages"))}
            busy = tx.find_tasks()
        self.blobs.sweep(keep, BLOB_GRACE_SECONDS)
        if not busy:
            self._remove_model_directories(directories, now)

    def _remove_model_directories(self, keep: Collection[str | None], now: datetime) -> None:
        for place in self.models_dir.iterdir() if self.models_dir.is_dir() else ():
            age = now - datetime.fromtimestamp(place.stat().st_mtime, UTC)
            if place.name not in keep and age.total_seconds() > BLOB_GRACE_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
