"""A deployment: from a version in CREATING to READY or FAILED.

Steps, each safe to repeat, because the worker may die at any point and another take up the task:

1. Look: the version and its operation are still there, running, and not cancelled.
2. List the objects below deploymentUri, with the rights of the project's service agent (R-090).
3. Copy them into a directory named by the digest of what they hold (same files, same directory).
4. Find the environment that the runtime version names; if it has to be built, that has a queue of its own (builds.py).
5. Make a faster copy of it, where it may have one; whatever stands in the way of that is told and does no harm.
6. Load the model once, in a process of its own.
7. In one transaction: the version READY (default if it is the first), the operation done, the task gone. The task's
   fence is checked there, so a worker that lost its lease changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from mlgate.core import lro, versions
from mlgate.core.errors import (
    Cancelled,
    FailedPrecondition,
    Internal,
    NotFound,
    RpcError,
)
from mlgate.core.names import bucket_name, parse_gs_uri, project_id_of
from mlgate.ports import (
    Blobs,
    Clock,
    Environment,
    ModelLoader,
    ModelSpec,
    Record,
    Store,
    StoredObject,
    Task,
    Transaction,
)
from mlgate.records import serving_fact, version_plain
from mlgate.service_agents import ServiceAgents
from mlgate.settings import Settings
from mlgate.snapshot import ServedVersion, Snapshot
from mlgate.worker.builds import Builds

log = structlog.get_logger("mlgate.worker")

T = TypeVar("T")

#: After so many claims of one task the deployment itself is taken to be what kills the worker.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class Deployer:
    store: Store
    snapshot: Snapshot
    blobs: Blobs
    loader: ModelLoader
    builds: Builds
    clock: Clock
    settings: Settings
    models_dir: Path
    #: Puts a line into the log of a version, by its uid.
    say: Callable[[str, str], None] = lambda uid, text: None

    @property
    def _agents(self) -> ServiceAgents:
        return ServiceAgents(self.store, self.snapshot)

    def run(self, task: Task) -> None:
        """Carry a deployment to its end. Raises nothing that a deployment can cause."""
        try:
            if task.attempts > MAX_ATTEMPTS:
                raise Internal(f"The deployment was interrupted {MAX_ATTEMPTS} times and is given up.")
            version = self._look(task)
            if version is None:
                return
            files, warnings = self._files(version)
            self.say(version.uid, f"{version.body['deploymentUri']} holds {len(files)} files.")
            framework = versions.framework_of(version.body, [f["path"] for f in files])
            packages = self._packages(version, files)
            serving: dict[str, Any] = {"digest": self._copy(files), "framework": framework}
            if packages:
                serving["packages"] = self._copy(packages)
            if framework == versions.CUSTOM:
                serving["prediction_class"] = version.body["predictionClass"]
                serving["account"] = version.body.get("serviceAccount", "").lower()
            if version.body.get("explanationConfig"):
                serving["explanation"] = version.body["explanationConfig"]
            environment = self._environment(task, version, versions.runs_as(framework, [f["path"] for f in files]))
            serving["environment"] = environment.directory
            self._look(task)
            wanted: dict[str, Any] = versions.nodes(version.body)
            copy: dict[str, Any] = {}
            if self.settings.faster_copies and versions.wants_copy(version.body, framework):
                served = ServedVersion(version.uid, **serving)
                serving["framework"], copy, serving["copy"] = self._copied(served, environment)
            serving["framework"] = self._load(ServedVersion(version.uid, **serving, **wanted), environment)
        except RpcError as error:
            self.say(task.body["uid"], f"The deployment failed: {error.message}")
            self._end(task, error=error)
            return
        self.say(version.uid, f"The model is loaded, as {serving['framework']}.")
        self._end(task, serving=serving, copy=copy, files=files + packages, warnings=warnings)

    # ----------------------------------------------------------------------------------------------------- steps

    def _look(self, task: Task) -> Record | None:
        """The version to deploy; None when there is nothing left to do. Raises Cancelled."""
        with self.store.read() as tx:
            operation = tx.get(task.body["operation"])
            version = tx.get(task.body["version"])
        if operation is None or lro.is_done(operation.body):
            with self.store.write() as tx:
                tx.finish(task)
            return None
        if lro.is_cancelling(operation.body):
            raise Cancelled("The operation was cancelled.")
        if version is None or version.uid != task.body["uid"]:
            raise NotFound(f"{task.body['version']} does not exist any more.")
        if not lro.is_started(operation.body):
            with self.store.write() as tx:
                fresh = tx.get(operation.name)
                if fresh is not None and not lro.is_done(fresh.body):
                    fresh.body = lro.started(fresh.body, self.clock.now())
                    tx.update(fresh)
        return version

    def _files(self, version: Record) -> tuple[list[dict[str, Any]], list[str]]:
        """The objects to copy, as path, digest and size, and what to warn of."""
        uri = version.body["deploymentUri"]
        bucket, path = parse_gs_uri(uri, "version.deploymentUri")
        prefix = path.rstrip("/") + "/" if path.strip("/") else ""
        warnings = self._agents.check(project_id_of(version.name), bucket)
        with self.store.read() as tx:
            if tx.get(bucket_name(bucket)) is None:
                raise NotFound(f"Bucket {bucket} of deploymentUri {uri} does not exist.")
            limit = self.settings.max_model_files
            found = tx.list_objects(bucket, prefix=prefix, limit=limit + 1)
        files = [_file(o, prefix) for o in found if not o.name.endswith("/")]
        if not files:
            raise FailedPrecondition(f"deploymentUri {uri} holds no files: upload the model there first.")
        if len(found) > limit:
            raise FailedPrecondition(f"deploymentUri {uri} holds more than the {limit} files that are allowed.")
        size = sum(f["size"] for f in files)
        if size > self.settings.max_model_bytes:
            raise FailedPrecondition(
                f"deploymentUri {uri} holds {size} bytes; {self.settings.max_model_bytes} are allowed."
            )
        return files, warnings

    def _packages(self, version: Record, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The archives of the user's own code, numbered in their order; they count toward the limits of the files."""
        project, uris = project_id_of(version.name), version.body.get("packageUris", [])
        packages = self._agents.packages(project, uris, self.settings.max_model_bytes)
        size = sum(f["size"] for f in files + packages)
        if size > self.settings.max_model_bytes:
            raise FailedPrecondition(
                f"deploymentUri and packageUris hold {size} bytes; {self.settings.max_model_bytes} are allowed."
            )
        return packages

    def _copy(self, files: list[dict[str, Any]]) -> str:
        """Put the files into their directory, whole or not at all, and return its name."""
        listing = json.dumps([[f["path"], f["digest"]] for f in files])
        digest = hashlib.sha256(listing.encode()).hexdigest()
        target = self.models_dir / digest
        if target.is_dir():
            return digest
        scratch = self.models_dir / f".{digest[:16]}-{secrets.token_hex(4)}"
        scratch.mkdir(parents=True, mode=0o755)
        try:
            for file in files:
                place = _below(scratch, file["path"])
                place.parent.mkdir(parents=True, exist_ok=True)
                self.blobs.materialize(file["digest"], place)
            os.rename(scratch, target)
        except OSError as error:
            if not target.is_dir():
                raise Internal(f"The model files could not be copied: {error.strerror}.") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return digest

    def _environment(self, task: Task, version: Record, framework: str) -> Environment:
        """Raises Cancelled, NotFound; Stopped when it is no time to wait any more."""
        asked = version.body["runtimeVersion"], version.body["pythonVersion"], framework
        if self.builds.environments.is_ready(*asked):
            environment = self.builds.environments.python(*asked)
        else:
            self.say(version.uid, "It waits for its environment to be built.")
            environment = self.builds.build(*asked, lambda: self._look(task) is not None)
        log.info("environment", version=version.name, environment=environment.name, note=environment.note)
        self.say(version.uid, f"It runs in the environment {environment.name}. {environment.note}".rstrip())
        return environment

    def _copied(self, version: ServedVersion, environment: Environment) -> tuple[str, dict[str, Any], str]:
        """Try the model and make its faster copy: the framework, what the version says of the copy, and the copy's
        directory ("" for none)."""
        scratch = self.models_dir / f".copy-{secrets.token_hex(8)}"
        scratch.mkdir(parents=True, mode=0o755)
        try:
            made = scratch / "model.onnx"
            try:
                framework, said = self._trying(version, environment, lambda spec: self.loader.copy(spec, made))
            except FailedPrecondition as error:  # the model's fault, which loading will tell, or that of the tools
                framework, said = version.framework, {"reason": f"making it failed: {error.message}"}
            copy = versions.copy_of(said)
            if copy["state"] != "READY":
                return framework, copy, ""
            made.chmod(0o644)
            (scratch / "copy.json").write_text(json.dumps(said))
            digest = hashlib.sha256(made.read_bytes() + (scratch / "copy.json").read_bytes()).hexdigest()
            with suppress(OSError):  # it is there already
                os.rename(scratch, self.models_dir / digest)
            return framework, copy, digest
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _load(self, version: ServedVersion, environment: Environment) -> str:
        """Try the model; its framework."""
        return self._trying(version, environment, self.loader.load)

    def _trying(self, version: ServedVersion, environment: Environment, try_: Callable[[ModelSpec], T]) -> T:
        """A failure says if the environment is another than the one that was asked for."""
        settings = self.settings
        spec = version.spec(self.models_dir, environment.python, settings.model_memory, settings.predict_timeout)
        try:
            return try_(spec)
        except FailedPrecondition as error:
            message = f"{error.message} {environment.note}".rstrip()
            raise FailedPrecondition(message, reason=error.reason, metadata=error.metadata) from error

    # ------------------------------------------------------------------------------------------------------- end

    def _end(
        self,
        task: Task,
        *,
        error: RpcError | None = None,
        serving: dict[str, Any] | None = None,
        copy: dict[str, Any] | None = None,
        files: list[dict[str, Any]] | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        with self.store.write() as tx:
            if not tx.finish(task):
                return  # Another worker has the task: nothing of ours may be stored.
            operation = tx.get(task.body["operation"])
            version = tx.get(task.body["version"])
            if version is not None and version.uid != task.body["uid"]:
                version = None
            if error is None and version is None:
                error = NotFound(f"{task.body['version']} does not exist any more.")
            if version is not None and version.body["state"] == "CREATING":
                self._store_version(tx, version, error, serving, copy, files)
            if operation is None or lro.is_done(operation.body):
                return
            now = self.clock.now()
            if error is not None or version is None:
                operation.body = lro.failed(operation.body, now, error or Internal("The version is gone."))
            else:
                response = {"@type": lro.VERSION_TYPE, **version_plain(tx, version)}
                operation.body = lro.succeeded(operation.body, now, response)
            if warnings:
                operation.hidden["warnings"] = warnings
            tx.update(operation)

    def _store_version(
        self,
        tx: Transaction,
        version: Record,
        error: RpcError | None,
        serving: dict[str, Any] | None,
        copy: dict[str, Any] | None,
        files: list[dict[str, Any]] | None,
    ) -> None:
        if error is not None:
            version.body = {**versions.move(version.body, "FAILED"), "errorMessage": error.message}
            tx.update(version)
            return
        assert serving is not None
        version.body = versions.move(version.body, "READY")
        if serving["framework"] in versions.FRAMEWORKS:
            version.body["framework"] = serving["framework"]
        if copy:
            version.body["fasterCopy"] = copy
        version.hidden.update(serving=serving, files=files or [])
        tx.update(version)
        model = tx.get(version.parent)
        if model is None:
            return
        if not model.hidden.get("default"):
            model.hidden["default"] = version.name
            tx.update(model)
        tx.set_fact("serving", model.name, serving_fact(tx, model))


def _file(stored: StoredObject, prefix: str) -> dict[str, Any]:
    return {"path": stored.name.removeprefix(prefix), "digest": stored.digest, "size": stored.size}


def _below(root: Path, path: str) -> Path:
    """`root/path`, or FailedPrecondition when the object's name is none that a file below root can have."""
    parts = path.split("/")
    if any(p in ("", ".", "..") or "\\" in p or len(p.encode()) > 255 or not p.isprintable() for p in parts):
        raise FailedPrecondition(f'The object name "{path[:200]}" below deploymentUri cannot be the name of a file.')
    return root.joinpath(*parts)
