"""A version of a model: what became of it, its log, and how to ask it."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.charts import traffic
from mlgate.console.pages.operations import state_of
from mlgate.console.tabs.bar import tabs
from mlgate.console.tabs.calling import code_to_call, try_it
from mlgate.console.tabs.log import log
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]

_TABS = {"state": "State", "log": "Log", "try": "Try it", "code": "Call it", "traffic": "Traffic"}
FRAMEWORKS = {"": "By its files", "SCIKIT_LEARN": "scikit-learn", "XGBOOST": "XGBoost", "TENSORFLOW": "TensorFlow"}
UNSETTLED = ("CREATING", "UPDATING", "DELETING")


async def page(visit: Visit, project: str, model: str, version: str, query: dict[str, str]) -> None:
    ui.page_title(f"{version} of {model} - mlgate")
    name = f"projects/{project}/models/{model}/versions/{version}"
    found = await visit.api.get(name)
    await VersionView(visit, project, model, found).build(query.get("tab", "state"))


class VersionView:
    def __init__(self, visit: Visit, project: str, model: str, version: Json) -> None:
        self._visit, self._project, self._model, self._version = visit, project, model, version
        self._name, self._id = version["name"], id_of(version["name"])
        self._path = ("projects", project, "models", model, "versions", self._id)

    async def build(self, tab: str) -> None:
        models = parts.path("projects", self._project, "models")
        crumbs = [("Models", models), (self._model, parts.path("projects", self._project, "models", self._model))]
        with parts.heading(self._id, crumbs):
            parts.button("Delete", self._visit.act(self._delete), icon="delete_outline")
            self._star = parts.button(
                "Make default", self._visit.act(self._make_default), icon="star_outline", kind="outline"
            )
        await tabs(self._visit, self._path, _TABS, tab, {
            "state": self._state, "log": self._log, "try": self._try, "code": self._code, "traffic": self._traffic,
        })  # fmt: skip

    async def _state(self) -> None:
        with parts.card(f"State of {self._id}") as self._box:
            self._facts = ui.element("div").classes("facts")
            self._trouble = ui.element("div")
            self._done = ui.element("div").classes("form")
        self._draw()
        if self._version.get("state") in UNSETTLED:
            self._visit.later(parts.polled(self._look, self._box), self._box)
        self._visit.later(self._deployments(), self._done)

    async def _look(self) -> bool:
        unsettled = await self._is_unsettled()
        self._draw()
        await self._deployments()
        return unsettled

    async def _is_unsettled(self) -> bool:
        """As it is now."""
        self._version = await self._visit.api.get(self._name)
        return self._version.get("state") in UNSETTLED

    def _draw(self) -> None:
        if self._facts.is_deleted:
            return
        self._facts.clear()
        self._trouble.clear()
        self._star.set_visibility(not self._version.get("isDefault"))
        version = self._version
        shown = {
            "Default": "yes" if version.get("isDefault") else "no",
            "Directory": version.get("deploymentUri"),
            "Framework": FRAMEWORKS.get(version.get("framework", ""), version.get("framework")),
            "Runtime version": version.get("runtimeVersion"),
            "Python version": version.get("pythonVersion"),
            "Prediction class": version.get("predictionClass"),
            "Machine type": version.get("machineType"),
            "Service account": version.get("serviceAccount"),
            "Description": version.get("description"),
            "Created (UTC)": parts.when(version.get("createTime")),
            "Last used (UTC)": parts.when(version.get("lastUseTime")),
        }
        with self._facts:
            ui.label("State")
            with ui.element("div").props('role="status"'):
                parts.state(version.get("state", ""))
            for word, value in shown.items():
                if value:
                    ui.label(word)
                    ui.label(value)
        if version.get("errorMessage"):
            with self._trouble:
                ui.label(version["errorMessage"]).classes("error").props('role="alert"')

    async def _deployments(self) -> None:
        """What was done to the version: its operations, newest first."""
        model = self._name.rpartition("/versions/")[0]
        try:
            answer = await self._visit.api.operations(self._project, text=f'metadata.modelName:"{model}"')
        except Failure as failure:
            parts.hint(f"Its deployments are not shown. {failure.message}")
            return
        lines = [
            operation for operation in answer.get("operations", ())
            if operation.get("metadata", {}).get("version", {}).get("name") == self._name
        ]  # fmt: skip
        if self._done.is_deleted:
            return
        self._done.clear()
        with self._done:
            if lines:
                with ui.element("h2").classes("title-2"):
                    ui.label("What was done to it")
            for operation in lines:
                self._draw_operation(operation)

    def _draw_operation(self, operation: Json) -> None:
        metadata = operation["metadata"]
        with ui.element("div").classes("member-from"):
            parts.state(state_of(operation))
            target = parts.path("projects", self._project, "operations", selected=id_of(operation["name"]))
            parts.link(metadata.get("operationType", "").replace("_", " ").capitalize(), target)
            ended = parts.when(metadata.get("endTime")) or "now"
            parts.hint(f"{parts.when(metadata.get('createTime'))} to {ended}")
        if "error" in operation:
            ui.label(operation["error"].get("message", "")).classes("error")

    async def _log(self) -> None:
        await log(self._visit, self._name, self._is_unsettled)

    async def _make_default(self) -> None:
        self._version = await self._visit.api.set_default(self._name)
        self._visit.done(f"{self._id} is the default version of {self._model} now.")
        self._draw()

    async def _delete(self) -> None:
        if await parts.asked(
            f"Delete version {self._id}?", "Whoever calls it by name gets errors from then on.", "Delete"
        ):
            await self._visit.api.delete(self._name)
            self._visit.go(parts.path("projects", self._project, "models", self._model))
            self._visit.done(f"{self._id} is being deleted.")

    async def _try(self) -> None:
        try_it(self._visit, self._name)

    async def _code(self) -> None:
        code_to_call(self._visit, self._project, self._model, self._id)

    async def _traffic(self) -> None:
        await traffic(self._visit, self._name)
