"""Operations: what the server still does or did, and stopping it."""

from __future__ import annotations

import json
from typing import Any

from nicegui import ui

from mlgate.console import parts
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]

_COLUMNS = {"kind": "What", "state": "State", "on": "On", "created": "Begun (UTC)", "ended": "Ended (UTC)"}
_OPEN = """<q-td :props="props"><a class="link" role="button" tabindex="0" @click="$parent.$emit('look', props.row)"
    @keydown.enter="$parent.$emit('look', props.row)">{{ props.value }}</a></q-td>"""


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    await OperationsView(visit, project, query.get("selected", "")).build()


class OperationsView:
    def __init__(self, visit: Visit, project: str, selected: str) -> None:
        self._visit, self._project, self._selected = visit, project, selected
        self._running = "done=false"

    async def build(self) -> None:
        ui.page_title(f"Operations - {self._project} - mlgate")
        with parts.heading("Operations"):
            only = ui.switch("Running only", on_change=self._visit.act(self._filter))
            parts.icon_button("refresh", "Refresh", self._visit.act(self._load))
        self._only = only
        self._list = ui.element("div").classes("card card-table")
        self._one = ui.element("div").classes("form")
        if await self._load():
            self._visit.later(parts.polled(self._load, self._list, 2.0), self._list)
        if self._selected:
            await self._look(f"projects/{self._project}/operations/{self._selected}")

    async def _filter(self) -> None:
        await self._load()

    async def _load(self) -> bool:
        """Draw the list; whether something still runs."""
        answer = await self._visit.api.operations(self._project, text="done=false" if self._only.value else "")
        rows = sorted(map(self._row, answer.get("operations", ())), key=lambda row: row["begun"], reverse=True)
        if self._list.is_deleted:
            return False
        self._list.clear()
        with self._list:
            if not rows:
                parts.empty(
                    "Nothing runs" if self._only.value else "No operations yet",
                    "Deploying and deleting versions are operations; each is listed here with what came of it.",
                    icon="pending_actions",
                )
                return False
            made = parts.table(
                _COLUMNS, rows, label=f"Operations of {self._project}",
                slots={"state": parts.STATE_CELL},
            )  # fmt: skip
            made.add_slot("body-cell-kind", _OPEN)
            made.on("look", self._visit.act(self._chosen))
            if answer.get("nextPageToken"):
                parts.hint("These are the first; mlgate operations list shows all.").classes("pager")
        return any(row["state"] == "RUNNING" for row in rows)

    @staticmethod
    def _row(operation: Json) -> parts.Row:
        metadata, state = operation.get("metadata", {}), state_of(operation)
        return {
            "name": operation["name"], "kind": _kind(operation), "state": state, "tone": parts.tone(state),
            "on": id_of(_subject(metadata)),
            "begun": metadata.get("createTime", ""), "created": parts.when(metadata.get("createTime")),
            "ended": parts.when(metadata.get("endTime")),
        }  # fmt: skip

    async def _chosen(self, event: Any) -> None:
        await self._look(event.args["name"])

    async def _look(self, name: str) -> None:
        operation = await self._visit.api.get(name)
        self._visit.replace_address(parts.path("projects", self._project, "operations", selected=id_of(name)))
        self._one.clear()
        with self._one, parts.card(f"{_kind(operation)} {id_of(name)}"):
            with ui.element("div").classes("member-from"):
                parts.state(state_of(operation))
            if "error" in operation:
                ui.label(operation["error"].get("message", "")).classes("error").props('role="alert"')
            parts.code(json.dumps(operation, indent=2), "The operation as the API tells it")
            if not operation.get("done"):
                with ui.row().classes("actions"):
                    parts.button("Cancel it", self._visit.act(lambda: self._cancel(name)), icon="stop", kind="outline")

    async def _cancel(self, name: str) -> None:
        await self._visit.api.cancel(name)
        self._visit.done("The operation was asked to stop.")
        await self._look(name)
        await self._load()


def state_of(operation: Json) -> str:
    return "FAILED" if "error" in operation else "DONE" if operation.get("done") else "RUNNING"


def _kind(operation: Json) -> str:
    metadata = operation.get("metadata", {})
    told = str(metadata.get("operationType", "")) or str(metadata.get("@type", "")).rpartition(".")[2]
    return told.replace("_", " ").replace("Metadata", "").capitalize()


def _subject(metadata: Json) -> str:
    """What the operation is about."""
    return str(metadata.get("version", {}).get("name") or metadata.get("modelName") or metadata.get("study", ""))
