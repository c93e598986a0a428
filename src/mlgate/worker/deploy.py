"""A deployment: from a version in CREATING to READY or FAILED.

Steps, each safe to repeat, because the worker may die at any point and another take up the task:

1. Look: the version and its operation are still there, running, and not cancelled.
2. List the objects below deploymentUri, with the rights of the project's service agent (R-090).
3. Copy them into a directory named by the digest of what they hold (same files, same directory).
4. Find the environment that the runtime version names, building it if it is the first to ask.
5. Load the model once, in a process of its own.
6. In one transaction: the version READY (default if it is the first), the operation done, the task gone. The task's
   fence is checked there, so a worker that lost its lease changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from mlgate.core import lro, versions
from mlgate.core.errors import (
    Cancelled,
    FailedPrecondition,
    Internal,
    NotFound,
    PermissionDenied,
    RpcError,
)
from mlgate.core.names import bucket_name, join, parse_gs_uri, project_id_of
from mlgate.ports import (
    Blobs,
    Clock,
    Environment,
    Environments,
    ModelLoader,
    Record,
    Store,
    StoredObject,
    Task,
    Transaction,
)
from mlgate.records import serving_fact, version_plain
from mlgate.settings import Settings
from mlgate.snapshot import ServedVersion, Snapshot

log = structlog.get_logger("mlgate.worker")

#: After so many claims of one task the deployment itself is taken to be what kills the worker.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class Deployer:
    store: Store
    snapshot: Snapshot
    blobs: Blobs
    loader: ModelLoader
    environments: Environments
    clock: Clock
    settings: Settings
    models_dir: Path

    def run(self, task: Task) -> None:
        """Carry a deployment to its end. Raises nothing that a deployment can cause."""
        try:
            if task.attempts > MAX_ATTEMPTS:
                raise Internal(f"The deployment was interrupted {MAX_ATTEMPTS} times and is given up.")
            version = self._look(task)
            if version is None:
                return
            files, warnings = self._files(version)
            framework = versions.framework_of(version.body, [f["path"] for f in files])
            packages = self._packages(version, files)
            serving = {"digest": self._copy(files), "framework": framework}
            if packages:
                serving["packages"] = self._copy(packages)
            if framework == versions.CUSTOM:
                serving["prediction_class"] = version.body["predictionClass"]
            environment = self._environment(version, versions.runs_as(framework, [f["path"] for f in files]))
            serving["environment"] = environment.directory
            self._look(task)
            serving["framework"] = self._load(ServedVersion(version.uid, **serving), environment)
        except RpcError as error:
            self._end(task, error=error)
            return
        self._end(task, serving=serving, files=files + packages, warnings=warnings)

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
        warnings = self._check_agent(project_id_of(version.name), bucket)
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
        packages: list[dict[str, Any]] = []
        checked: set[str] = set()
        for number, uri in enumerate(version.body.get("packageUris", [])):
            bucket, path = parse_gs_uri(uri, "version.packageUris")
            if bucket not in checked:
                self._check_agent(project_id_of(version.name), bucket)
                checked.add(bucket)
            with self.store.read() as tx:
                stored = tx.get_object(bucket, path)
            if stored is None:
                raise NotFound(f"The package {uri} of packageUris does not exist.")
            name = f"{number:03d}-{path.rpartition('/')[2]}"
            packages.append({"path": name, "digest": stored.digest, "size": stored.size})
        size = sum(f["size"] for f in files + packages)
        if size > self.settings.max_model_bytes:
            raise FailedPrecondition(
                f"deploymentUri and packageUris hold {size} bytes; {self.settings.max_model_bytes} are allowed."
            )
        return packages

    def _check_agent(self, project_id: str, bucket: str) -> list[str]:
        """Whether the service agent may read the bucket; the message names account, permission and bucket (C-22)."""
        self.snapshot.refresh()
        project = self.snapshot.projects.get(project_id)
        if project is None:
            raise NotFound(f"Project {project_id} does not exist any more.")
        agent, resource = f"serviceAccount:{project.agent}", bucket_name(bucket)
        for permission in ("storage.objects.list", "storage.objects.get"):
            if not self.snapshot.decide(agent, permission, resource):
                raise PermissionDenied(
                    f"The service account {project.agent} lacks {permission} on bucket {bucket}: grant it "
                    f"roles/storage.objectViewer there."
                )
        home = self.snapshot.buckets.get(bucket, project_id)
        if not self.snapshot.decide(agent, "storage.buckets.list", join("", "projects", home)):
            return [f"The service account {project.agent} lacks storage.buckets.list on project {home}."]
        return []

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

    def _environment(self, version: Record, framework: str) -> Environment:
        names = version.body["runtimeVersion"], version.body["pythonVersion"]
        environment = self.environments.python(*names, framework)
        log.info("environment", version=version.name, environment=environment.name, note=environment.note)
        return environment

    def _load(self, version: ServedVersion, environment: Environment) -> str:
        """Try the model; its framework. A failure says if the environment is another than the one that was asked
        for."""
        spec = version.spec(self.models_dir, environment.python, self.settings.model_memory)
        try:
            return self.loader.load(spec)
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
                self._store_version(tx, version, error, serving, files)
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
