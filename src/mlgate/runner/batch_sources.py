"""What a batch prediction reads: its input objects and its model, found with the rights of the project's service agent.

Raises RpcError with words for whoever submitted the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlgate.core import batch, runtimes, versions
from mlgate.core.errors import FailedPrecondition, NotFound, RpcError
from mlgate.core.names import bucket_name, parse_gs_uri
from mlgate.ports import StoredObject
from mlgate.runner.training import Parts
from mlgate.service_agents import ServiceAgents

Json = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    parts: Parts
    project_id: str
    #: The job's predictionInput.
    given: Json
    #: Says something in the job's log.
    note: Callable[[str], None]

    @property
    def agents(self) -> ServiceAgents:
        return ServiceAgents(self.parts.store, self.parts.snapshot)

    def inputs(self) -> list[StoredObject]:
        """The objects to read, each once, in the order of the paths and of their names."""
        agents = self.agents
        found: dict[tuple[str, str], StoredObject] = {}
        checked: set[str] = set()
        for uri in self.given["inputPaths"]:
            bucket, path = parse_gs_uri(uri, "inputPaths")
            if bucket not in checked:
                agents.check(self.project_id, bucket)
                checked.add(bucket)
            with self.parts.store.read() as tx:
                if tx.get(bucket_name(bucket)) is None:
                    raise NotFound(f"Bucket {bucket} of inputPaths {uri} does not exist.")
                if "*" in path:
                    listed = {o.name: o for o in tx.list_objects(bucket, prefix=batch.prefix_of(path))}
                else:
                    single = tx.get_object(bucket, path)
                    listed = {} if single is None else {path: single}
            names = batch.matching(path, listed) if "*" in path else list(listed)
            if not names:
                hint = "" if "*" in path else f" For all objects of a folder write {uri.rstrip('/')}/*."
                raise NotFound(f"There is no object {uri} (inputPaths).{hint}")
            found |= {(bucket, name): listed[name] for name in names}
        if len(found) > batch.MOST_INPUTS:
            raise FailedPrecondition(f"inputPaths are {len(found)} objects; {batch.MOST_INPUTS} are allowed in a job.")
        return list(found.values())

    def model(self, resolved: str = "") -> tuple[Json, list[str]]:
        """What is to be run, and all digests of its files. `resolved` is the model's version when the job was
        created."""
        name = self.given.get("versionName") or self.given.get("modelName")
        return self._of_version(resolved or name) if name else self._of_uri()

    def _of_version(self, name: str) -> tuple[Json, list[str]]:
        with self.parts.store.read() as tx:
            record = tx.get(name)
            if record is not None and record.kind == "model":
                if not record.hidden.get("default"):
                    raise FailedPrecondition(f"{name} has no default version to predict with.")
                record = tx.get(record.hidden["default"])
        if record is None or record.kind != "version":
            raise NotFound(f"{name} does not exist.")
        if record.body["state"] not in ("READY", "UPDATING") or "serving" not in record.hidden:
            raise FailedPrecondition(f"{record.name} is {record.body['state']}; it must be READY.")
        serving, files = record.hidden["serving"], record.hidden["files"]
        packages = len(record.body.get("packageUris", [])) if serving.get("packages") else 0
        own, code = files[: len(files) - packages], files[len(files) - packages :]
        framework = serving["framework"]
        directory = serving["environment"]
        if self.given.get("runtimeVersion"):
            python = record.body.get("pythonVersion", "")
            runs_as = versions.runs_as(framework, [file["path"] for file in own])
            directory = self._environment(self.given["runtimeVersion"], runs_as, python)
        self.note(f"The model is {record.name}.")
        options = {"prediction_class": serving["prediction_class"]} if serving.get("prediction_class") else {}
        run = {
            "framework": framework, "environment": directory, "options": options, "account": serving.get("account", ""),
            "files": [*_placed("model", own), *_placed("packages", code)],
        }  # fmt: skip
        return run, [file["digest"] for file in files]

    def _of_uri(self) -> tuple[Json, list[str]]:
        """A model that is not deployed, with the framework that its files tell."""
        uri, settings = self.given["uri"], self.parts.settings
        bucket, path = parse_gs_uri(uri, "uri")
        prefix = path.rstrip("/") + "/" if path.strip("/") else ""
        self.agents.check(self.project_id, bucket)
        with self.parts.store.read() as tx:
            if tx.get(bucket_name(bucket)) is None:
                raise NotFound(f"Bucket {bucket} of uri {uri} does not exist.")
            found = tx.list_objects(bucket, prefix=prefix, limit=settings.max_model_files + 1)
        files: list[Json] = [
            {"path": o.name.removeprefix(prefix), "digest": o.digest, "size": o.size}
            for o in found
            if not o.name.endswith("/")
        ]
        if not files:
            raise FailedPrecondition(f"uri {uri} holds no files: it must be the folder of a model.")
        if len(found) > settings.max_model_files:
            raise FailedPrecondition(
                f"uri {uri} holds more than the {settings.max_model_files} files that are allowed."
            )
        size = sum(file["size"] for file in files)
        if size > settings.max_model_bytes:
            raise FailedPrecondition(f"uri {uri} holds {size} bytes; {settings.max_model_bytes} are allowed.")
        for file in files:
            if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in file["path"].split("/")):
                raise FailedPrecondition(f'The object name "{file["path"][:200]}" below uri cannot be that of a file.')
        names = [file["path"] for file in files]
        framework = versions.framework_of({}, names)
        runtime = self.given.get("runtimeVersion") or batch.latest_runtime()
        environment = self._environment(runtime, versions.runs_as(framework, names), "")
        run = {
            "framework": framework, "environment": environment, "options": {}, "account": "",
            "files": _placed("model", files),
        }  # fmt: skip
        return run, [file["digest"] for file in files]

    def _environment(self, runtime_version: str, framework: str, python_version: str) -> str:
        """The directory of a runtime's environment; `python_version` where the runtime has it."""
        try:
            runtimes.check(runtime_version, python_version)
        except RpcError:
            python_version = batch.python_of(runtime_version)
        environment = self.parts.environments.python(runtime_version, python_version, framework)
        if environment.note:
            self.note(environment.note)
        return environment.directory


def _placed(folder: str, files: list[Json]) -> list[tuple[str, str]]:
    return [(f"{folder}/{file['path']}", file["digest"]) for file in files]
