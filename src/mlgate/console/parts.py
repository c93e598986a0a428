"""The parts that pages are made of: headings, empty states, denials, tables, code to copy, questions before a deed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from nicegui import ui
from nicegui.events import MultiUploadEventArguments

from mlgate.cli.failure import Failure
from mlgate.console.visit import Visit, explained
from mlgate.core.wire import parse_timestamp

Row = dict[str, Any]

#: The state of a version, an operation, a job, a trial, a study: how it is coloured.
_TONES = {
    "READY": "good", "SUCCEEDED": "good", "DONE": "good", "COMPLETED": "good", "ALLOWED": "good",
    "FAILED": "bad", "DENIED": "bad", "DISABLED": "bad",
    "CREATING": "busy", "UPDATING": "busy", "RUNNING": "busy", "PREPARING": "busy", "ACTIVE": "busy", "QUEUED": "busy",
}  # fmt: skip


def path(*segments: str, **query: str | None) -> str:
    """An address of the console: its segments quoted, the parameters that have a value behind them."""
    told = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
    return "/" + "/".join(quote(segment, safe="@") for segment in segments) + (f"?{told}" if told else "")


def link(text: str, target: str, classes: str = "") -> ui.link:
    return ui.link(text, target).classes(f"link {classes}")


def button(text: str, on_click: Callable[..., Any], *, icon: str | None = None, kind: str = "flat") -> ui.button:
    """A button with words on it. `kind`: flat, outline, or unelevated for the one that matters."""
    colours = "color=brand text-color=on-brand" if kind == "unelevated" else ""
    return ui.button(text, icon=icon, on_click=on_click).props(f"{kind} no-caps {colours}")


def icon_button(icon: str, label: str, on_click: Callable[..., Any]) -> ui.button:
    """A button with a picture on it, named for whoever does not see it."""
    made = ui.button(icon=icon, on_click=on_click).props("flat round dense")
    made.props["aria-label"] = label
    made.props["title"] = label
    return made


@contextmanager
def heading(title: str, crumbs: Sequence[tuple[str, str]] = ()) -> Iterator[None]:
    """The head of a page: where it is, its title, and on the right what can be done."""
    with ui.element("div").classes("heading"):
        with ui.element("div").classes("heading-text"):
            if crumbs:
                with ui.element("nav").classes("crumbs") as nav:
                    nav.props["aria-label"] = "Where this is"
                    for text, target in crumbs:
                        link(text, target)
                        ui.label("/").props('aria-hidden="true"')
            with ui.element("h1").classes("title-1"):
                ui.label(title)
        with ui.element("div").classes("actions"):
            yield


@contextmanager
def card(title: str = "", classes: str = "") -> Iterator[ui.element]:
    with ui.element("section").classes(f"card {classes}") as section:
        if title:
            section.props["aria-label"] = title
            with ui.element("h2").classes("title-2"):
                ui.label(title)
        yield section


def state(text: str) -> None:
    tone = _TONES.get(text, "plain")
    ui.label(text).classes(f"chip chip-{tone}")


def hint(text: str) -> ui.label:
    return ui.label(text).classes("hint")


def empty(title: str, text: str, command: str = "", icon: str = "inbox") -> None:
    """What a page says where there is nothing yet: the first step."""
    with ui.element("div").classes("empty"):
        ui.icon(icon).classes("empty-icon").props('aria-hidden="true"')
        ui.label(title).classes("title-3")
        ui.label(text).classes("hint")
        if command:
            code(command)


def denied(failure: Failure) -> None:
    """What a page says where its person may not look, or the server cannot answer: the server's own words."""
    titles = {
        "PERMISSION_DENIED": ("You may not see this", "lock"),
        "NOT_FOUND": ("There is nothing here", "search_off"),
        "UNIMPLEMENTED": ("This server cannot do that yet", "construction"),
        "UNAVAILABLE": ("The server does not answer", "cloud_off"),
    }
    title, icon = titles.get(failure.status, ("That did not work", "error_outline"))
    with ui.element("div").classes("empty").props('role="alert"'):
        ui.icon(icon).classes("empty-icon").props('aria-hidden="true"')
        ui.label(title).classes("title-3")
        ui.label(explained(failure)).classes("denied-text")
        if failure.status == "PERMISSION_DENIED":
            ui.label("Whoever owns the resource or its project can give you a role that holds it.").classes("hint")


def code(text: str, language: str = "") -> None:
    """Code to copy."""
    with ui.element("div").classes("code"):
        pre = ui.element("pre").props('tabindex="0"')
        pre.props["aria-label"] = language or "Command"
        with pre:
            ui.label(text).classes("code-text")
        icon_button("content_copy", "Copy", lambda: ui.clipboard.write(text))


def table(
    columns: Mapping[str, str],
    rows: Iterable[Row],
    *,
    key: str = "name",
    label: str,
    slots: Mapping[str, str] | None = None,
) -> ui.table:
    """A table that scrolls by itself; only the rows in sight are drawn. `slots` are cells of a form of their own."""
    listed = list(rows)
    made = ui.table(
        columns=[{"name": n, "label": t, "field": n, "align": "left", "sortable": True} for n, t in columns.items()],
        rows=listed,
        row_key=key,
    ).classes("table")
    made.props("flat dense hide-pagination :rows-per-page-options=[0] binary-state-sort")
    made.props["pagination"] = {"rowsPerPage": 0}
    if len(listed) > 100:
        made.props("virtual-scroll").classes("table-tall")
    made.props["table-aria-label"] = label
    made.props["aria-label"] = label
    for name, template in (slots or {}).items():
        made.add_slot(f"body-cell-{name}", f'<q-td :props="props">{template}</q-td>')
    return made


#: Cells for `slots`: a link that the row brings as `link`, a state.
LINK_CELL = """<a v-if="props.row.link" class="link" :href="props.row.link">{{ props.value }}</a>
    <span v-else>{{ props.value }}</span>"""
STATE_CELL = """<span :class="'chip chip-' + (props.row.tone || 'plain')">{{ props.value }}</span>"""


def tone(text: str) -> str:
    return _TONES.get(text, "plain")


async def asked(title: str, text: str, deed: str, no: str = "Cancel") -> bool:
    """Whether the person really wants it; `no` is the button of whoever does not."""
    with ui.dialog() as dialog, ui.card().classes("card dialog"):
        dialog.props["aria-label"] = title
        ui.label(title).classes("title-3")
        ui.label(text)
        with ui.row().classes("actions"):
            button(no, lambda: dialog.submit(False))
            button(deed, lambda: dialog.submit(True), kind="unelevated").props("color=bad text-color=on-bad")
    answer = bool(await dialog)
    dialog.delete()
    return answer


class Form:
    """A dialog with fields; what was typed stays until the server has taken it."""

    def __init__(self, visit: Visit, title: str, deed: str, work: Callable[[], Awaitable[None]]) -> None:
        self._visit, self._work = visit, work
        self.dialog = ui.dialog()
        self.dialog.props["aria-label"] = title
        with self.dialog, ui.card().classes("card dialog"):
            ui.label(title).classes("title-3")
            self.body = ui.column().classes("form")
            self._error = ui.label().classes("error").props('role="alert"')
            self._error.set_visibility(False)
            with ui.row().classes("actions"):
                button("Cancel", self.dialog.close)
                self._deed = button(deed, self._do, kind="unelevated")
        self.dialog.on("hide", lambda: self.dialog.delete())

    def open(self) -> None:
        self.dialog.open()

    async def _do(self) -> None:
        self._error.set_visibility(False)
        self._deed.props("loading")
        try:
            await self._work()
        except Failure as failure:
            if failure.http_status == 401:
                self._visit.fault(failure)
            self._error.set_text(explained(failure))
            self._error.set_visibility(True)
        else:
            self.dialog.close()
        finally:
            self._deed.props(remove="loading")


def when(text: str | None) -> str:
    """A moment of the wire for a person, in UTC."""
    return f"{parse_timestamp(text):%Y-%m-%d %H:%M:%S}" if text else ""


def days_left(end: float) -> str:
    """How long until an end, in words."""
    left = end - datetime.now(UTC).timestamp()
    if left <= 0:
        return "ended"
    if left < 3600:
        return f"{max(1, round(left / 60))} min left"
    if left < 86400:
        return f"{round(left / 3600)} h left"
    days = round(left / 86400)
    return f"{days} day{'' if days == 1 else 's'} left"


def size(number: int) -> str:
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


async def polled(
    look: Callable[[], Awaitable[bool]], where: ui.element, every: float = 1.0, slowest: float = 10.0
) -> None:
    """Look again and again, until it says that there is nothing more to see or its part of the page is gone."""
    while not where.is_deleted and await look():
        await asyncio.sleep(every)
        every = min(every * 1.3, slowest)


def drop_zone(on_files: Callable[[MultiUploadEventArguments], Any], label: str = "Drop files here, or") -> None:
    """A place for files. Quasar's own head of it has no names for screen readers."""
    with ui.element("div").classes("drop"):
        upload = ui.upload(multiple=True, auto_upload=True, label=label, on_multi_upload=on_files)
        upload.props("flat bordered")
        upload.add_slot("header", _DROP_HEAD.replace("LABEL", label))


_DROP_HEAD = """<div class="drop-head"><label class="drop-label">LABEL<q-uploader-add-trigger /></label>
    <q-btn flat dense no-caps color="primary" label="choose them" @click="props.pickFiles" /></div>"""
