"""The form that deploys a version, from a bucket or from files."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.events import MultiUploadEventArguments

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.pages.version import FRAMEWORKS
from mlgate.console.visit import Visit

Json = dict[str, Any]


class Deploying:
    def __init__(self, visit: Visit, project: str, model: str) -> None:
        self._visit, self._project, self._model = visit, project, model
        self._new_bucket = ""

    def open(self) -> None:
        files: dict[str, Any] = {}

        async def create() -> None:
            version: Json = {"name": (name.value or "").strip()}
            if files:
                version["deploymentUri"] = await self._store(bucket.value or "", version["name"], files)
            elif (origin.value or "").strip():
                version["deploymentUri"] = origin.value.strip()
            else:
                raise Failure("INVALID_ARGUMENT", "Say which directory of a bucket to deploy, or drop the files.")
            for field, given in (
                ("framework", framework.value), ("runtimeVersion", runtime.value), ("pythonVersion", python.value),
                ("description", about.value),
            ):  # fmt: skip
                if given:
                    version[field] = given.strip()
            await self._visit.api.create_version(f"projects/{self._project}/models/{self._model}", version)
            self._visit.go(parts.path("projects", self._project, "models", self._model, "versions", version["name"]))

        form = parts.Form(self._visit, f"Deploy a version of {self._model}", "Deploy", create)
        with form.body:
            name = ui.input("Version", placeholder="v1").props("outlined dense stack-label autofocus")
            origin = ui.input("Directory in a bucket", placeholder="gs://BUCKET/PATH").props(
                "outlined dense stack-label"
            )
            parts.hint("or drop the files, such as model.joblib; they go into a bucket first:")
            bucket = ui.select([], label="Bucket for the files", with_input=True, new_value_mode="add-unique")
            bucket.props("outlined dense")
            new = parts.hint("The project has no bucket yet: this one is made.")
            new.set_visibility(False)
            self._visit.later(self._load_buckets(bucket, new), form.body)

            def dropped(event: MultiUploadEventArguments) -> None:
                files.update({file.name: file for file in event.files})
                told.set_text(", ".join(sorted(files)))

            parts.drop_zone(dropped)
            told = parts.hint("")
            with ui.expansion("More").classes("role"), ui.column().classes("form").style("padding: 12px"):
                framework = ui.select(FRAMEWORKS, value="", label="Framework").props("outlined dense")
                runtime = ui.input("Runtime version", value="2.11").props("outlined dense")
                python = ui.input("Python version", value="3.7").props("outlined dense")
                parts.hint("The server's own Python stands in for 2.11 with 3.7 when it has the framework.")
                about = ui.input("Description").props("outlined dense")
        form.open()

    async def _load_buckets(self, select: ui.select, new: ui.label) -> None:
        try:
            names = [bucket["name"] for bucket in await self._visit.api.buckets(self._project)]
        except Failure:
            select.set_options([])  # whoever may not list buckets can still name one
            return
        self._new_bucket = "" if names else f"{self._project}-models"
        new.set_visibility(not names)
        names = names or [self._new_bucket]
        select.set_options(names, value=names[0])

    async def _store(self, bucket: str, version: str, files: dict[str, Any]) -> str:
        if not bucket:
            raise Failure("INVALID_ARGUMENT", "Choose the bucket that the files go into.")
        if bucket == self._new_bucket:
            await self._visit.api.create_bucket(self._project, bucket)
            self._new_bucket = ""
        prefix = f"{self._model}/{version or 'version'}"
        for name, file in files.items():
            await self._visit.api.upload(bucket, f"{prefix}/{name}", file.iterate(), "application/octet-stream")
        return f"gs://{bucket}/{prefix}"
