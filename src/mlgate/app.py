"""The composition root: the only file that sees everything. It builds what the entry points run."""

from __future__ import annotations

import atexit
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.db.migrate import migrate, newest, version_of
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.adapters.environments.builder import Builder
from mlgate.adapters.environments.environments import UvEnvironments
from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.sandbox import NONE, OFF, Sandbox, for_jobs, probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.identity.tokens import TokenIdentity, new_token
from mlgate.adapters.lines import LogFiles, TableFiles
from mlgate.adapters.optimizer import ProcessOptimizer
from mlgate.adapters.runners.gateway import Gateway
from mlgate.adapters.runners.local import LocalRunner
from mlgate.adapters.system import RandomIds, SystemClock
from mlgate.api.call import Services
from mlgate.api.handlers.projects import new_project
from mlgate.api.handlers.sign_in import new_code
from mlgate.api.handlers.uploads import expire_uploads
from mlgate.api.methods import registry
from mlgate.api.prediction_log import PredictionLog
from mlgate.api.usage import Usage, prune
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, RpcError
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.iam.principals import parse_principal
from mlgate.core.iam.roles import Role, catalogue, permissions_by_role
from mlgate.core.jobs import RUN_JOB
from mlgate.core.names import ORGANIZATION, check_id
from mlgate.core.wire import format_timestamp, parse_timestamp
from mlgate.http.asgi import App
from mlgate.ports import AuditEntry, Author, Record
from mlgate.runner.loop import Runner
from mlgate.runner.training import Parts
from mlgate.runner.watched import TOKEN_SECONDS
from mlgate.settings import Settings, models_memory_of, nodes_of, slots_of
from mlgate.slots import Slots
from mlgate.snapshot import ServedVersion, Snapshot
from mlgate.studies import SUGGEST
from mlgate.worker.builds import Builds
from mlgate.worker.deploy import Deployer
from mlgate.worker.loop import AT_ONCE, Worker
from mlgate.worker.suggest import Suggester
from mlgate.worker.version_log import VersionLog

log = structlog.get_logger("mlgate")

#: How long the optimizer may think while a caller waits, and in the worker.
_ANSWERED_SECONDS, _THOUGHT_SECONDS = 10.0, 600.0
_CODE_SECONDS = 600.0


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
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions"

    @property
    def console(self) -> Path:
        """Holds the console's address while the server runs."""
        return self.root / "console.url"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

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
    _check_lifetime(settings, lifetime)
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


def login_code(settings: Settings, principal: str, lifetime: float) -> str:
    """A one-time code that opens a session of `lifetime` seconds for a person, good for ten minutes.

    Raises InvalidArgument.
    """
    member = parse_principal(principal)
    if not member.startswith("user:"):
        raise InvalidArgument(f"{member} signs in with its key; a link is for a person: user:EMAIL.")
    _check_lifetime(settings, lifetime)
    store = open_store(settings)
    try:
        with store.write() as tx:
            now, code = SystemClock().now(), RandomIds().token()
            new_code(tx, code, member, lifetime, now, now + timedelta(seconds=_CODE_SECONDS))
            tx.audit(_admin_entry("mlgate.admin.loginLink", member, now, {"lifetime": lifetime}))
            return code
    finally:
        store.close()


def console_address(settings: Settings) -> str:
    """Where the console of a running server listens; where it would, when none runs."""
    with suppress(FileNotFoundError):
        return places(settings).console.read_text().strip()
    return f"http://{settings.host}:{settings.console_port}"


def _check_lifetime(settings: Settings, lifetime: float) -> None:
    if not 1 <= lifetime <= settings.max_token_lifetime:
        raise InvalidArgument(
            f"A lifetime of {lifetime:g}s is not possible: give 1s to {settings.max_token_lifetime:g}s."
        )


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
    executor, where = ThreadPoolExecutor(16, thread_name_prefix="unit"), places(settings)
    blobs, usage = FileBlobs(where.blobs), Usage(store, executor)
    predictions = PredictionLog(
        store=store,
        blobs=blobs,
        snapshot=snapshot,
        tables=TableFiles(where.tables, settings.max_table_bytes),
        logs=LogFiles(where.logs),
        clock=clock,
        usage=usage,
        seconds=settings.request_log_seconds,
    )
    return Services(
        registry=registry(),
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        usage=usage,
        predictions=predictions,
        host=SocketModelHost(places(settings).run, max_waiting=settings.predict_queue),
        identity=TokenIdentity(store, snapshot, clock),
        clock=clock,
        ids=RandomIds(),
        settings=settings,
        roles=roles_of(settings),
        executor=executor,
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
        _sandbox(confined),
        on_log=version_log.printed,
        ready_seconds=settings.load_timeout,
        idle_seconds=settings.idle_seconds,
        memory_bytes=models_memory_of(settings),
        spares=settings.model_spares,
        most_processes=nodes_of(settings),
        gateway=_gateways(store, snapshot, settings, _sandbox(confined)),
    )
    suggester = Suggester(store, ProcessOptimizer(_THOUGHT_SECONDS), clock)
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
        where.jobs, _sandbox(confined), blobs, own_url(settings), settings.public_url, settings.job_patience
    )
    local.tidy()
    stopping = threading.Event()
    parts = Parts(
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        runner=local,
        environments=environments(settings),
        optimizer=ProcessOptimizer(_THOUGHT_SECONDS),
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


def own_url(settings: Settings) -> str:
    """Where this server answers on its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _installation(directory: Path) -> str:
    """A name for the data directory, whose one runner after the other goes by it."""
    place = directory / ".name"
    if not place.exists():
        place.write_text(secrets.token_hex(8))
    return place.read_text().strip()


def _sandbox(confined: Mapping[str, Any]) -> Sandbox:
    return Sandbox(confined["mode"], confined["reason"], tuple(confined["bubblewrap"]))


def predict_locally(directory: Path, framework: str, body: bytes) -> dict[str, Any]:
    """What a model in a local directory predicts, loaded into this very process: its answer, or {"error": ...}."""
    from mlgate.adapters.runtimes import batching, contract, frameworks

    try:
        _, model = frameworks.load_model(framework, str(directory), {})
    except contract.Failed as failure:
        return {"error": failure.text}
    [(_, answer)] = batching.answer(model, [body])
    predicted: dict[str, Any] = json.loads(answer)
    return predicted
