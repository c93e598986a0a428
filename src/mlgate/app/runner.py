"""The runner: what carries jobs to their end."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.identity.tokens import new_token
from mlgate.adapters.optimizer import THOUGHT_SECONDS, ProcessOptimizer
from mlgate.adapters.runners.local import LocalRunner
from mlgate.adapters.system import SystemClock
from mlgate.app.confinement import sandbox_of
from mlgate.app.environments import environments
from mlgate.app.places import open_store, own_url, places
from mlgate.core.errors import FailedPrecondition
from mlgate.core.iam.roles import permissions_by_role
from mlgate.core.jobs import RUN_JOB
from mlgate.runner.loop import Runner
from mlgate.runner.training import Parts
from mlgate.runner.watched import TOKEN_SECONDS
from mlgate.settings import Settings, slots_of
from mlgate.slots import Slots
from mlgate.snapshot import Snapshot


def runner(settings: Settings, confined: Mapping[str, Any]) -> Runner:
    """What carries jobs to their end; `confined` as for `worker`."""
    store, clock, where = open_store(settings), SystemClock(), places(settings)
    snapshot = Snapshot(store, permissions_by_role(settings.role_catalogue))
    snapshot.refresh()
    blobs, slots = FileBlobs(where.blobs), Slots(slots_of(settings))
    where.jobs.mkdir(mode=0o755, exist_ok=True)

    def issue(email: str) -> str:
        """A token for a job's account: a service account, or a project's service agent."""
        with store.write() as tx:
            account = tx.fact("account", email)
            is_agent = email in {project.agent for project in snapshot.projects.values()}
            if not is_agent and (account is None or account["disabled"]):
                raise FailedPrecondition(f"The service account {email} does not exist or is disabled.")
            expires = clock.now() + timedelta(seconds=TOKEN_SECONDS)
            return new_token(tx, f"serviceAccount:{email}", expires, account["uid"] if account else "")

    local = LocalRunner(
        where.jobs, sandbox_of(confined), blobs, own_url(settings), settings.public_url, settings.job_patience
    )
    local.tidy()
    stopping = threading.Event()
    parts = Parts(
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        runner=local,
        environments=environments(settings),
        optimizer=ProcessOptimizer(THOUGHT_SECONDS),
        clock=clock,
        settings=settings,
        slots=slots,
        home=f"runner-{_installation(where.jobs)}",
        issue=issue,
        stopping=stopping,
    )  # fmt: skip
    built = Runner(
        name=parts.home, store=store, clock=clock, lease_seconds=settings.lease_seconds,
        handlers={}, parallel=slots.count + 2, parts=parts, stopping=stopping,
    )  # fmt: skip
    built.handlers = {RUN_JOB: built.run_job}
    return built


def _installation(directory: Path) -> str:
    """A name for the data directory, whose one runner after the other goes by it."""
    place = directory / ".name"
    if not place.exists():
        place.write_text(secrets.token_hex(8))
    return place.read_text().strip()
