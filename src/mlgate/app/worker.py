"""The worker: deployments, suggestions that take long, and the model processes."""

from __future__ import annotations

import atexit
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.db.store import SqlStore
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.adapters.hosts.sandbox import Sandbox, for_jobs
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.identity.tokens import new_token
from mlgate.adapters.lines import LogFiles
from mlgate.adapters.optimizer import THOUGHT_SECONDS, ProcessOptimizer
from mlgate.adapters.runners.gateway import Gateway
from mlgate.adapters.system import SystemClock
from mlgate.api.handlers.uploads import expire_uploads
from mlgate.api.usage import prune
from mlgate.app.confinement import sandbox_of
from mlgate.app.environments import environments
from mlgate.app.places import open_store, own_url, places
from mlgate.core.errors import FailedPrecondition, RpcError
from mlgate.core.iam.roles import permissions_by_role
from mlgate.core.wire import parse_timestamp
from mlgate.runner.watched import TOKEN_SECONDS
from mlgate.settings import Settings, models_memory_of, nodes_of
from mlgate.slots import Slots
from mlgate.snapshot import ServedVersion, Snapshot
from mlgate.studies import SUGGEST
from mlgate.worker.builds import Builds
from mlgate.worker.deploy import Deployer
from mlgate.worker.loop import AT_ONCE, Worker
from mlgate.worker.suggest import Suggester
from mlgate.worker.version_log import VersionLog

log = structlog.get_logger("mlgate")


@dataclass(frozen=True)
class _ServedProcesses:
    """The supervisor's processes, for versions as the snapshot has them."""

    supervisor: ModelSupervisor
    environments: UvEnvironments
    settings: Settings

    def running(self) -> list[dict[str, Any]]:
        return self.supervisor.running()

    def unload(self, uid: str) -> None:
        self.supervisor.unload(uid)

    def scale(self, version: ServedVersion) -> None:
        python = self.environments.interpreter(version.environment)
        limits = self.settings.model_memory, self.settings.predict_timeout
        try:
            self.supervisor.scale(version.spec(places(self.settings).models, python, *limits))
        except RpcError as error:
            log.warning("version without its processes", uid=version.uid, reason=error.message)


def worker(settings: Settings, confined: Mapping[str, Any]) -> tuple[Worker, ModelSupervisor]:
    """The worker and the model processes that it keeps; `confined` is what `confinement` found, in plain form."""
    store, clock, where = open_store(settings), SystemClock(), places(settings)
    snapshot = Snapshot(store, permissions_by_role(settings.role_catalogue))
    blobs = FileBlobs(where.blobs)
    version_log = VersionLog(snapshot, LogFiles(where.logs), clock, settings.request_log_seconds)
    atexit.register(version_log.close)
    supervisor = ModelSupervisor(
        where.run,
        sandbox_of(confined),
        on_log=version_log.printed,
        ready_seconds=settings.load_timeout,
        idle_seconds=settings.idle_seconds,
        memory_bytes=models_memory_of(settings),
        spares=settings.model_spares,
        most_processes=nodes_of(settings),
        gateway=_gateways(store, snapshot, settings, sandbox_of(confined)),
    )
    suggester = Suggester(store, ProcessOptimizer(THOUGHT_SECONDS), clock)
    stopping, working = threading.Event(), Slots(AT_ONCE)
    builds = Builds(environments(settings), working, stopping)
    deployer = Deployer(store, snapshot, blobs, supervisor, builds, clock, settings, where.models, version_log.said)

    def expire(now: datetime) -> None:
        with store.write() as tx:
            expire_uploads(tx, blobs, now)
            prune(tx, now)
            for digest, ends in tx.facts("ended").items():
                if parse_timestamp(ends) <= now:
                    tx.set_fact("ended", digest, None)
        with store.read() as tx:
            uids = {version.uid for version in tx.find("version")}
        version_log.logs.keep(uids)

    built = Worker(
        name=f"worker-{secrets.token_hex(4)}",
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        clock=clock,
        lease_seconds=settings.lease_seconds,
        models_dir=where.models,
        handlers={"deploy_version": deployer.run, SUGGEST: suggester.run},
        processes=_ServedProcesses(supervisor, environments(settings), settings),
        places=working,
        stopping=stopping,
        expire=expire,
    )
    return built, supervisor


def _gateways(
    store: SqlStore, snapshot: Snapshot, settings: Settings, sandbox: Sandbox
) -> Callable[[str, Path], Gateway]:
    """A gateway to this server for the code of a service account, whose tokens are renewed in time."""
    issued: dict[str, tuple[str, float]] = {}

    def token(email: str) -> str:
        bearer, until = issued.get(email, ("", 0.0))
        if time.time() > until - TOKEN_SECONDS / 2:
            with store.write() as tx:
                account = tx.fact("account", email)
                if account is None or account["disabled"]:
                    raise FailedPrecondition(f"The service account {email} does not exist or is disabled.")
                until = time.time() + TOKEN_SECONDS
                expires = datetime.fromtimestamp(until, UTC)
                bearer = new_token(tx, f"serviceAccount:{email}", expires, account["uid"])
            issued[email] = (bearer, until)
        return bearer

    def gateway(email: str, directory: Path) -> Gateway:
        snapshot.refresh()
        account = snapshot.account(email)
        if account is None:
            raise FailedPrecondition(f"The service account {email} of the version does not exist.")
        return Gateway(
            own_url(settings), lambda: token(email), account=email, project=account.project, directory=directory,
            public_url=settings.public_url, mode=for_jobs(sandbox).mode,
        )  # fmt: skip

    return gateway
