"""A model and its versions: deploy, try, call from outside, share, and look back."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.charts import traffic
from mlgate.console.deploying import Deploying
from mlgate.console.history import History
from mlgate.console.pages.version import FRAMEWORKS, UNSETTLED
from mlgate.console.permissions import Permissions
from mlgate.console.tabs.bar import tabs
from mlgate.console.tabs.calling import code_to_call, try_it
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]

_COLUMNS = {
    "id": "Version", "state": "State", "framework": "Framework", "runtime": "Runtime", "created": "Created (UTC)",
    "used": "Last used (UTC)",
}  # fmt: skip
_TABS = {"versions": "Versions", "try": "Try it", "code": "Call it", "permissions": "Permissions",
         "history": "Policy history", "traffic": "Traffic"}  # fmt: skip


async def page(visit: Visit, project: str, model: str, query: dict[str, str]) -> None:
    name = f"projects/{project}/models/{model}"
    ui.page_title(f"{model} - mlgate")
    try:
        found = await visit.api.model(name)
    except Failure as failure:
        if failure.status != "PERMISSION_DENIED" or not await visit.api.may(name, ("ml.models.predict",)):
            raise
        found = {"name": name, "description": "You may send this model instances, and not look at it."}
    await ModelView(visit, project, found).build(query.get("tab", "versions"))


class ModelView:
    def __init__(self, visit: Visit, project: str, model: Json) -> None:
        self._visit, self._project, self._model = visit, project, model
        self._name, self._id = model["name"], id_of(model["name"])
        self._path = ("projects", project, "models", self._id)
        self._deploying = Deploying(visit, project, self._id)

    async def build(self, tab: str) -> None:
        with parts.heading(self._id, [("Models", parts.path("projects", self._project, "models"))]):
            parts.button("Delete", self._visit.act(self._delete), icon="delete_outline")
            parts.button("Deploy a version", self._deploying.open, icon="rocket_launch", kind="unelevated")
        with ui.element("div").classes("member-from"):
            for key, value in sorted(self._model.get("labels", {}).items()):
                ui.label(f"{key}: {value}").classes("chip")
        if self._model.get("description"):
            parts.hint(self._model["description"])
        await tabs(self._visit, self._path, _TABS, tab, {
            "versions": self._versions, "try": self._try, "code": self._code, "permissions": self._permissions,
            "history": self._history, "traffic": self._traffic,
        })  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- versions

    async def _versions(self) -> None:
        with ui.element("div").classes("card card-table") as box:
            pass
        self._box = box
        await self._load_versions()

    async def _load_versions(self) -> None:
        found = await self._visit.api.versions(self._name)
        self._draw_versions(found)
        if any(version.get("state") in UNSETTLED for version in found):
            self._visit.later(parts.polled(self._look, self._box), self._box)

    async def _look(self) -> bool:
        found = await self._visit.api.versions(self._name)
        self._draw_versions(found)
        return any(version.get("state") in UNSETTLED for version in found)

    def _draw_versions(self, found: list[Json]) -> None:
        if self._box.is_deleted:
            return
        self._box.clear()
        with self._box:
            if not found:
                parts.empty(
                    "No versions yet", "A version is a trained model that answers. Deploy one from a bucket or from "
                    "files of yours, here or with:",
                    f"mlgate versions create v1 --model {self._id} --origin gs://BUCKET/PATH", icon="rocket_launch",
                )  # fmt: skip
                return
            made = parts.table(
                _COLUMNS, [self._row(version) for version in found], label=f"Versions of {self._id}",
                slots={
                    "id": parts.LINK_CELL + """<span v-if="props.row.default" class="chip chip-brand"
                        style="margin-left: 8px">default</span>""",
                    "state": parts.STATE_CELL,
                },
            )  # fmt: skip
            made.add_slot(
                "body-cell-deed",
                """<q-td :props="props"><q-btn v-if="!props.row.default && props.row.state === 'READY'" flat dense
                no-caps label="Make default" :aria-label="'Make ' + props.row.id + ' the default'"
                @click="$parent.$emit('deed', props.row)" /></q-td>""",
            )
            made.columns = [*made.columns, {"name": "deed", "label": "", "field": "id", "align": "right"}]
            made.on("deed", self._visit.act(self._make_default))

    def _row(self, version: Json) -> parts.Row:
        version_id, state = id_of(version["name"]), version.get("state", "")
        return {
            "name": version["name"], "id": version_id, "state": state, "tone": parts.tone(state),
            "link": parts.path(*self._path, "versions", version_id), "default": bool(version.get("isDefault")),
            "framework": FRAMEWORKS.get(version.get("framework", ""), version.get("framework", "")),
            "runtime": version.get("runtimeVersion", ""), "created": parts.when(version.get("createTime")),
            "used": parts.when(version.get("lastUseTime")),
        }  # fmt: skip

    async def _make_default(self, event: Any) -> None:
        before = next((v["name"] for v in await self._visit.api.versions(self._name) if v.get("isDefault")), "")

        async def undo() -> None:
            await self._visit.api.set_default(before)
            await self._load_versions()

        await self._visit.api.set_default(event.args["name"])
        await self._load_versions()
        self._visit.done(f"{event.args['id']} is the default version now.", undo if before else None)

    async def _delete(self) -> None:
        if await parts.asked(
            f"Delete {self._id}?", "The model and its policy go. Versions have to go before.", "Delete"
        ):
            await self._visit.api.delete(self._name)
            self._visit.go(parts.path("projects", self._project, "models"))
            self._visit.done(f"{self._id} was deleted.")

    # ------------------------------------------------------------------------------------------------- use and share

    async def _try(self) -> None:
        try_it(self._visit, self._name)

    async def _code(self) -> None:
        code_to_call(self._visit, self._project, self._id, "")

    async def _permissions(self) -> None:
        with ui.element("div").classes("card"):
            permissions = Permissions(self._visit)
        await permissions.show([self._name])

    async def _history(self) -> None:
        await History(self._visit, self._name).build()

    async def _traffic(self) -> None:
        await traffic(self._visit, self._name)
