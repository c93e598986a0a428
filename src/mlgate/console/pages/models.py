"""The list of models, and beside it the panel in which they are shared."""

from __future__ import annotations

import json
from typing import Any

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.client import PAGE
from mlgate.console.permissions import Panel
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

_COLUMNS = {"id": "Name", "default": "Default version", "state": "State", "labels": "Labels", "about": "Description"}
_FIRST_STEP = "mlgate models create MODEL"


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    view = ModelsView(visit, project, query)
    await view.build()


class ModelsView:
    def __init__(self, visit: Visit, project: str, query: dict[str, str]) -> None:
        self._visit, self._project = visit, project
        self._text = query.get("q", "")
        self._selected = [f"projects/{project}/models/{m}" for m in query.get("selected", "").split(",") if m]
        self._is_open = query.get("panel", "") == "permissions"
        #: The page tokens of the pages so far; the last is that of the page in sight.
        self._tokens = [""]

    async def build(self) -> None:
        ui.page_title(f"Models - {self._project} - mlgate")
        with parts.heading("Models"):
            parts.button("New model", self._new, icon="add", kind="outline")
            self._toggle = parts.button(
                "Show Info Panel", self._visit.act(self._switch), icon="info", kind="unelevated"
            )
        with ui.element("div").classes("with-panel"):
            with ui.element("div").classes("list card card-table") as self._list:
                with ui.element("div").classes("toolbar"):
                    self._search = ui.input(placeholder="Search: a name's beginning, or labels.team:blue")
                    self._search.props("outlined dense clearable debounce=250").classes("search")
                    self._search.props["aria-label"] = "Search models"
                    self._search.set_value(self._text)
                    self._search.on_value_change(self._visit.act(self._searched))
                    with self._search.add_slot("prepend"):
                        ui.icon("search").props('aria-hidden="true"')
                self._body = ui.element("div")
            self._panel = Panel(self._visit, self._visit.act(self._switch))
        self._show_panel()
        await self._load()
        if self._is_open:
            await self._panel.show(self._selected)

    # ----------------------------------------------------------------------------------------------------- the list

    async def _load(self) -> None:
        answer = await self._visit.api.models(self._project, self._filter(), self._tokens[-1])
        rows = [_row(self._project, model) for model in answer.get("models", ())]
        if "denied" in answer and self._text:
            rows = [row for row in rows if self._text.lower() in row["id"].lower()]
        self._body.clear()
        with self._body:
            if not rows and len(self._tokens) == 1:
                self._draw_empty("denied" in answer)
                return
            self._draw_table(rows)
            self._draw_pager(len(rows), answer.get("nextPageToken", ""), answer.get("denied", ""))

    def _filter(self) -> str:
        if not self._text or any(mark in self._text for mark in ":=<>"):
            return self._text
        return f"name:{json.dumps(f'projects/{self._project}/models/{self._text}*')}"

    def _draw_table(self, rows: list[parts.Row]) -> None:
        self._table = parts.table(
            _COLUMNS, rows, label=f"Models of {self._project}",
            slots={
                "id": parts.LINK_CELL, "state": parts.STATE_CELL,
                "labels": '<span v-for="label in props.value" class="chip chip-next">{{ label }}</span>',
            },
        )  # fmt: skip
        self._table.set_selection("multiple")
        self._table.props("hide-selected-banner")
        self._table.add_slot(
            "body-selection", '<q-checkbox dense v-model="props.selected" :aria-label="props.row.id" />'
        )
        self._table.add_slot(
            "header-selection", '<q-checkbox dense v-model="props.selected" aria-label="All models in sight" />'
        )
        self._table.selected = [row for row in rows if row["name"] in self._selected]
        self._table.on_select(self._visit.act(self._select))

    def _draw_pager(self, count: int, following: str, note: str) -> None:
        with ui.element("div").classes("pager"):
            first = (len(self._tokens) - 1) * PAGE + 1
            ui.label(f"{first} to {first + count - 1}" if count else "No more").classes("hint")
            back = parts.button("Previous", self._visit.act(self._back), icon="chevron_left")
            back.set_enabled(len(self._tokens) > 1)
            on = parts.button("Next", self._visit.act(lambda: self._on(following)), icon="chevron_right")
            on.set_enabled(bool(following))
            if note:
                parts.hint(f"You see the models that were shared with you. To see all: {note}")

    def _draw_empty(self, is_denied: bool) -> None:
        if self._text:
            parts.empty(
                "No model matches", f'Nothing begins with "{self._text}". Labels are searched as labels.KEY:VALUE.'
            )
        elif is_denied:
            parts.empty(
                "No model is shared with you here",
                "Ask a model's owner to add you as ML Engine Model User. To see all models of the project you need the "
                "permission ml.models.list on it.",
            )
        else:
            parts.empty("No models yet", "A model is a name under which versions are deployed. Make one here, or with:",
                        _FIRST_STEP, icon="category")  # fmt: skip

    async def _searched(self, change: Any) -> None:
        self._text, self._tokens = (change.value or "").strip(), [""]
        self._remember()
        await self._load()

    async def _back(self) -> None:
        self._tokens.pop()
        await self._load()

    async def _on(self, token: str) -> None:
        self._tokens.append(token)
        await self._load()

    # ---------------------------------------------------------------------------------------------------- the panel

    async def _select(self, _: Any) -> None:
        in_sight = {row["name"] for row in self._table.rows}
        self._selected = [n for n in self._selected if n not in in_sight] + [r["name"] for r in self._table.selected]
        self._remember()
        if self._is_open:
            await self._panel.show(self._selected)

    async def _switch(self, _: Any = None) -> None:
        self._is_open = not self._is_open
        self._show_panel()
        self._remember()
        if self._is_open:
            await self._panel.show(self._selected)

    def _show_panel(self) -> None:
        self._panel.box.set_visibility(self._is_open)
        self._toggle.set_text("Hide Info Panel" if self._is_open else "Show Info Panel")
        self._toggle.props["aria-expanded"] = str(self._is_open).lower()

    def _remember(self) -> None:
        """Keep search, selection and panel in the address, so that it can be passed on."""
        target = parts.path(
            "projects", self._project, "models",
            q=self._text, selected=",".join(id_of(name) for name in self._selected[:50]),
            panel="permissions" if self._is_open else "",
        )  # fmt: skip
        self._visit.replace_address(target)

    # ----------------------------------------------------------------------------------------------------- new ones

    def _new(self) -> None:
        async def create() -> None:
            labels = dict(_label(word) for word in (tags.value or "").replace(",", " ").split())
            model_id = (name.value or "").strip()
            model = {"name": model_id, "description": about.value or "", "labels": labels}
            await self._visit.api.create_model(self._project, {k: v for k, v in model.items() if v})
            self._visit.go(parts.path("projects", self._project, "models", model_id))

        form = parts.Form(self._visit, "New model", "Create", create)
        with form.body:
            name = ui.input("Name", placeholder="cancer").props("outlined dense autofocus")
            about = ui.input("Description (optional)").props("outlined dense")
            tags = ui.input("Labels (optional)", placeholder="team=blue stage=test").props("outlined dense")
            parts.hint("You become its owner. Deploy a version to it next.")
        form.open()


def _label(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not sign:
        raise Failure("INVALID_ARGUMENT", f'"{word}" is no label: write KEY=VALUE.')
    return key, value


def _row(project: str, model: dict[str, Any]) -> parts.Row:
    version = model.get("defaultVersion") or {}
    state = version.get("state", "") if version else "NO VERSION"
    return {
        "name": model["name"],
        "id": id_of(model["name"]),
        "link": parts.path("projects", project, "models", id_of(model["name"])),
        "default": id_of(version["name"]) if version.get("name") else "",
        "state": state,
        "tone": parts.tone(state),
        "labels": [f"{k}: {v}" for k, v in sorted(model.get("labels", {}).items())],
        "about": model.get("description", ""),
    }
