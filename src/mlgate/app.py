"""The composition root: the only file that sees everything. It builds what the entry points run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.db.migrate import migrate, newest, version_of
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.adapters.environments.builder import Builder
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.sandbox import NONE, OFF, Sandbox, probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.identity.tokens import TokenIdentity, new_token
from mlgate.adapters.optimizer import ProcessOptimizer
from mlgate.adapters.system import RandomIds, SystemClock
from mlgate.api.call import Services
from mlgate.api.handlers.projects import new_project
from mlgate.api.handlers.uploads import expire_uploads
from mlgate.api.methods import registry
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.iam.principals import parse_principal
from mlgate.core.iam.roles import Role, catalogue, permissions_by_role
from mlgate.core.names import ORGANIZATION, check_id
from mlgate.core.wire import format_timestamp
from mlgate.http.asgi import App
from mlgate.ports import AuditEntry, Author, Record
from mlgate.settings import Settings
from mlgate.snapshot import Snapshot
from mlgate.studies import SUGGEST
from mlgate.worker.deploy import Deployer
from mlgate.worker.loop import Worker
from mlgate.worker.suggest import Suggester

log = structlog.get_logger("mlgate")

#: How long the optimizer may think while a caller waits, and in the worker.
_ANSWERED_SECONDS, _THOUGHT_SECONDS = 10.0, 600.0


@dataclass(frozen=True)
class Places:
    """Where things are in the data directory."""

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runtimes(self) -> Path:
        return self.root / "runtimes"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


def places(settings: Settings) -> Places:
    return Places(Path(settings.data_dir).resolve())


def database_url(settings: Settings) -> str:
    return settings.database_url or sqlite_url(places(settings).root)


def open_store(settings: Settings) -> SqlStore:
    """The store of an initialized database. Raises FailedPrecondition that says what to run when it is not."""
    if not settings.database_url and not (places(settings).root / "mlgate.db").exists():
        raise FailedPrecondition(
            f"{settings.data_dir} is not initialized. Run: mlgate admin init --data-dir {settings.data_dir} "
            "--owner user:YOU@EXAMPLE.COM --project PROJECT_ID"
        )
    url = database_url(settings)
    current = version_of(url)
    if current is None:
        raise FailedPrecondition("The database is not initialized: run mlgate admin init first.")
    if current > newest():
        raise FailedPrecondition(f"The database has schema {current}; this mlgate knows {newest()}: use a newer one.")
    if current != newest():
        migrate(url)
    return SqlStore(url, settings.policy_revisions_kept)


# ------------------------------------------------------------------------------------------------------------ admin


def initialize(settings: Settings, owner: str, project_id: str) -> None:
    """Create the database, the organization, and a first project with its Owner. Raises AlreadyExists the second time,
    and stores nothing when anything is wrong."""
    principal = parse_principal(owner)
    check_id("project", project_id, "project")
    root = places(settings).root
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.chmod(0o700)
    url = database_url(settings)
    migrate(url)
    store = SqlStore(url)
    now = SystemClock().now()
    try:
        with store.write() as tx:
            if tx.get(ORGANIZATION) is not None:
                raise AlreadyExists(f"{settings.database_url or root} is initialized already.")
            tx.author = Author(principal, now)
            organization = {"name": ORGANIZATION, "displayName": "mlgate", "lifecycleState": "ACTIVE"}
            tx.insert(Record(ORGANIZATION, "organization", "", "1", organization, now))
            governing = (
                "roles/resourcemanager.organizationAdmin",
                "roles/resourcemanager.projectCreator",
                "roles/resourcemanager.folderAdmin",
                "roles/cloudidentity.groupsAdmin",
                "roles/iam.denyAdmin",
            )
            tx.set_policy(ORGANIZATION, Policy(tuple(Binding(role, (principal,)) for role in governing)))
            number = str(secrets.randbelow(9 * 10**11) + 10**11)
            new_project(tx, {"projectId": project_id, "name": project_id}, number, principal, now)
            tx.audit(_admin_entry("mlgate.admin.init", principal, now, {"project": project_id}))
    finally:
        store.close()


def _admin_entry(method: str, principal: str, now: datetime, detail: dict[str, Any]) -> AuditEntry:
    """An act of whoever has the data directory, in the audit log like the others."""
    return AuditEntry(
        time=now, request_id="", method=method, resource=principal, principal="admin", permission="",
        because={"access": "data directory"}, outcome="OK", detail=detail,
    )  # fmt: skip


def issue_token(settings: Settings, principal: str, lifetime: float) -> tuple[str, datetime]:
    """A bearer token and its end, for whoever can read the data directory.

    Raises InvalidArgument, and FailedPrecondition for an account that is not there or disabled.
    """
    member = parse_principal(principal)
    if not 1 <= lifetime <= settings.max_token_lifetime:
        raise InvalidArgument(
            f"A lifetime of {lifetime:g}s is not possible: give 1s to {settings.max_token_lifetime:g}s."
        )
    store = open_store(settings)
    try:
        with store.write() as tx:
            account = tx.fact("account", member.partition(":")[2]) if member.startswith("serviceAccount:") else None
            if member.startswith("serviceAccount:") and (account is None or account["disabled"]):
                raise FailedPrecondition(f"{member} does not exist or is disabled.")
            now = SystemClock().now()
            expires = now + timedelta(seconds=lifetime)
            tx.audit(_admin_entry("mlgate.admin.token", member, now, {"expires": format_timestamp(expires)}))
            return new_token(tx, member, expires, account["uid"] if account else ""), expires
    finally:
        store.close()


# ------------------------------------------------------------------------------------------------------------- parts


def environments(settings: Settings) -> UvEnvironments:
    root = Path(settings.runtimes_dir).resolve() if settings.runtimes_dir else places(settings).runtimes
    return UvEnvironments(
        Builder(root, wheelhouse=settings.wheelhouse),
        fixed=settings.runtime_python,
        own=settings.own_runtime,
        on_line=lambda name, line: log.info("runtime", environment=name, line=line),
    )


def roles_of(settings: Settings) -> Mapping[str, Role]:
    return catalogue(settings.role_catalogue)


def services(settings: Settings, health: Mapping[str, Any]) -> Services:
    """Everything behind the door of one API process."""
    store, clock = open_store(settings), SystemClock()
    snapshot = Snapshot(store, permissions_by_role(settings.role_catalogue))
    snapshot.refresh()
    return Services(
        registry=registry(),
        store=store,
        snapshot=snapshot,
        blobs=FileBlobs(places(settings).blobs),
        host=SocketModelHost(places(settings).run, max_waiting=settings.predict_queue),
        identity=TokenIdentity(store, snapshot, clock),
        clock=clock,
        ids=RandomIds(),
        settings=settings,
        roles=roles_of(settings),
        executor=ThreadPoolExecutor(16, thread_name_prefix="unit"),
        models_dir=places(settings).models,
        interpreter=environments(settings).interpreter,
        optimizer=ProcessOptimizer(_ANSWERED_SECONDS),
        health=lambda: dict(health),
    )


def api(settings: Settings, health: Mapping[str, Any]) -> App:
    return App(services(settings, health))


def confinement(settings: Settings) -> Sandbox:
    """How model code will be confined, probed once at start."""
    sandbox = probe(settings.sandbox)
    if sandbox.mode in (OFF, NONE):
        log.warning("model code is not confined", mode=sandbox.mode, reason=sandbox.reason)
    else:
        log.info("model code is confined", mode=sandbox.mode)
    return sandbox


def worker(settings: Settings, confined: Mapping[str, Any]) -> tuple[Worker, ModelSupervisor]:
    """The worker and the model processes that it keeps; `confined` is what `confinement` found, in plain form."""
    store, clock, where = open_store(settings), SystemClock(), places(settings)
    snapshot = Snapshot(store, permissions_by_role(settings.role_catalogue))
    blobs = FileBlobs(where.blobs)
    supervisor = ModelSupervisor(
        where.run,
        Sandbox(confined["mode"], confined["reason"], tuple(confined["bubblewrap"])),
        on_log=lambda uid, line: log.info("model", uid=uid, line=line),
        ready_seconds=settings.load_timeout,
    )
    suggester = Suggester(store, ProcessOptimizer(_THOUGHT_SECONDS), clock)
    deployer = Deployer(store, snapshot, blobs, supervisor, environments(settings), clock, settings, where.models)

    def expire(now: datetime) -> None:
        with store.write() as tx:
            expire_uploads(tx, blobs, now)

    built = Worker(
        name=f"worker-{secrets.token_hex(4)}",
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        clock=clock,
        lease_seconds=settings.lease_seconds,
        models_dir=where.models,
        handlers={"deploy_version": deployer.run, SUGGEST: suggester.run},
        processes=(supervisor.running, supervisor.unload),
        expire=expire,
    )
    return built, supervisor
