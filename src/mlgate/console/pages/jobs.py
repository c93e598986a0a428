"""Training and batch prediction jobs: states, the trials of a tuning job, the log as it is written, cancelling."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui

from mlgate.console import charts, parts
from mlgate.console.permissions import Permissions
from mlgate.console.tabs.bar import tabs
from mlgate.console.visit import Visit
from mlgate.core.wire import format_timestamp, parse_timestamp

Json = dict[str, Any]

_COLUMNS = {"id": "Job", "state": "State", "kind": "Kind", "created": "Created (UTC)", "ended": "Ended (UTC)"}
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_TABS = {"state": "State", "log": "Log", "trials": "Trials", "permissions": "Permissions"}
#: Lines of a log that are kept in a page; older ones are fetched when asked for.
WINDOW = 500
_LONGEST = 4000
#: Seconds to look back for a window of lines; the first is the minute after a log's end and a few seconds of it.
_SPANS = tuple(timedelta(seconds=s) for s in (70, 300, 3600, 4 * 3600, 3 * 86400, 3650 * 86400))
_BAD = ("ERROR", "CRITICAL", "ALERT", "EMERGENCY")


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    ui.page_title(f"Jobs - {project} - mlgate")
    with parts.heading("Jobs"):
        parts.icon_button("refresh", "Refresh", visit.act(lambda: load()))
    box = ui.element("div").classes("card card-table")

    async def load() -> bool:
        """Draw the list; whether a job still runs."""
        answer = await visit.api.jobs(project)
        if box.is_deleted:
            return False
        found = sorted(answer.get("jobs", ()), key=lambda job: str(job.get("createTime", "")), reverse=True)
        box.clear()
        with box:
            if not found:
                about = "A job trains a model, or predicts for many instances at once. Submit one with:"
                parts.empty("No jobs yet", about, "mlgate jobs submit training --help", icon="work_outline")
                return False
            parts.table(
                _COLUMNS, [_row(project, job) for job in found], label=f"Jobs of {project}",
                slots={"id": parts.LINK_CELL, "state": parts.STATE_CELL},
            )  # fmt: skip
        return any(job.get("state") not in _ENDED for job in found)

    if await load():
        visit.later(parts.polled(load, box, 2.0), box)


def _row(project: str, job: Json) -> parts.Row:
    state = job.get("state", "")
    return {
        "name": job["jobId"], "id": job["jobId"], "state": state, "tone": parts.tone(state), "kind": _kind(job),
        "created": parts.when(job.get("createTime")), "ended": parts.when(job.get("endTime")),
        "link": parts.path("projects", project, "jobs", job["jobId"]),
    }  # fmt: skip


def _kind(job: Json) -> str:
    if "predictionInput" in job:
        return "Batch prediction"
    return "Tuning" if "hyperparameters" in job.get("trainingInput", {}) else "Training"


async def job_page(visit: Visit, project: str, job: str, query: dict[str, str]) -> None:
    ui.page_title(f"{job} - mlgate")
    found = await visit.api.get(f"projects/{project}/jobs/{job}")
    await JobView(visit, project, found).build(query.get("tab", ""))


class JobView:
    def __init__(self, visit: Visit, project: str, job: Json) -> None:
        self._visit, self._project, self._job = visit, project, job
        self._id = job["jobId"]
        self._name = f"projects/{project}/jobs/{self._id}"

    async def build(self, tab: str) -> None:
        with parts.heading(self._id, [("Jobs", parts.path("projects", self._project, "jobs"))]):
            self._stop = parts.button("Cancel", self._visit.act(self._cancel), icon="stop", kind="outline")
        self._stop.set_enabled(self._job.get("state") not in _ENDED)
        titles = {n: t for n, t in _TABS.items() if n != "trials" or _kind(self._job) == "Tuning"}
        path = ("projects", self._project, "jobs", self._id)
        await tabs(self._visit, path, titles, tab, {
            "state": self._state, "log": self._log, "trials": self._trials, "permissions": self._permissions,
        })  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- state

    async def _state(self) -> None:
        with parts.card(f"State of {self._id}"):
            box = ui.element("div")
        self._draw(box)
        self._follow(box, lambda: self._draw(box))

    def _follow(self, box: ui.element, draw: Any) -> None:
        async def look() -> bool:
            await self._refresh()
            if not box.is_deleted:
                draw()
            return self._job.get("state") not in _ENDED

        if self._job.get("state") not in _ENDED:
            self._visit.later(parts.polled(look, box, slowest=2.0), box)

    def _draw(self, box: ui.element) -> None:
        job, output = self._job, self._job.get("predictionOutput") or self._job.get("trainingOutput") or {}
        shown = {
            "Kind": _kind(job), "Place in the queue": job.get("jobPosition"),
            "Created (UTC)": parts.when(job.get("createTime")), "Started (UTC)": parts.when(job.get("startTime")),
            "Ended (UTC)": parts.when(job.get("endTime")), "Predictions": output.get("predictionCount"),
            "Errors": output.get("errorCount"), "Results": output.get("outputPath"),
            "Trials done": output.get("completedTrialCount"), "ML units": output.get("consumedMLUnits"),
        }  # fmt: skip
        box.clear()
        with box:
            with ui.element("div").classes("facts"):
                ui.label("State")
                with ui.element("div").props('role="status"'):
                    parts.state(job.get("state", ""))
                for word, value in shown.items():
                    if value not in (None, ""):
                        ui.label(word)
                        ui.label(str(value))
            if job.get("errorMessage"):
                ui.label(job["errorMessage"]).classes("error").props('role="alert"')
            given = job.get("trainingInput") or job.get("predictionInput") or {}
            parts.code(json.dumps(given, indent=2), "What was asked for")

    async def _cancel(self) -> None:
        text = "What it has written so far stays."
        if await parts.asked(f"Cancel {self._id}?", text, "Cancel the job", "Let it run"):
            await self._visit.api.cancel(self._name)
            await self._refresh()
            self._visit.done(f"{self._id} is being cancelled.")

    # ---------------------------------------------------------------------------------------------------------- log

    async def _log(self) -> None:
        log = Log(self._visit, self._project, f'resource.labels.job_id="{self._id}"', self._job["createTime"])
        await log.build(lambda: self._job.get("endTime"), self._refresh)

    async def _refresh(self) -> None:
        self._job = await self._visit.api.get(self._name)
        self._stop.set_enabled(self._job.get("state") not in _ENDED)

    # ------------------------------------------------------------------------------------------------------- trials

    async def _trials(self) -> None:
        box = ui.element("div").classes("form")

        def draw() -> None:
            trials = self._job.get("trainingOutput", {}).get("trials", [])
            box.clear()
            with box:
                if not trials:
                    parts.empty("No trials yet", "They are listed as soon as the first has begun.", icon="tune")
                    return
                names = sorted({name for trial in trials for name in trial.get("hyperparameters", {})})
                rows = [_trial_row(trial) for trial in trials]
                columns = {"id": "Trial", "state": "State", "value": "Result", "step": "Step",
                           **{f"p.{name}": name for name in names}}  # fmt: skip
                with ui.element("div").classes("card card-table"):
                    parts.table(columns, rows, key="id", label="Trials", slots={"state": parts.STATE_CELL})
                curves = [
                    (f"trial {trial['trialId']}", [
                        (float(m.get("trainingStep", 0)), float(m["objectiveValue"]))
                        for m in trial.get("allMetrics", ()) if "objectiveValue" in m
                    ])
                    for trial in trials
                ]  # fmt: skip
                if any(points for _, points in curves):
                    with parts.card("Learning curves"):
                        charts.lines(curves, "step", "result", "The result of each trial over its steps")

        draw()
        self._follow(box, draw)

    async def _permissions(self) -> None:
        with ui.element("div").classes("card"):
            shown = Permissions(self._visit, "job", "ml.jobs")
        await shown.show([self._name])


def _trial_row(trial: Json) -> parts.Row:
    final, state = trial.get("finalMetric", {}), trial.get("state", "")
    value = final.get("objectiveValue")
    return {
        "id": trial.get("trialId", ""), "state": state, "tone": parts.tone(state),
        "value": "" if value is None else charts.number(value), "step": final.get("trainingStep", ""),
        **{f"p.{name}": told for name, told in trial.get("hyperparameters", {}).items()},
    }  # fmt: skip


class Log:
    """The newest lines of a log, more at its foot as they are written, older ones when asked for.

    However long the log is, the page holds a window of it, and asks the server for a span of time that is widened until
    it fills the window: neither has to look through all.
    """

    def __init__(self, visit: Visit, project: str, text: str, begin: str) -> None:
        self._visit, self._project, self._text = visit, project, text
        self._begin = parse_timestamp(begin)
        self._lines: deque[Json] = deque(maxlen=WINDOW)
        self._asked, self._older, self._all = "", "", True

    async def build(self, end: Callable[[], str | None], look: Callable[[], Awaitable[None]]) -> None:
        """`end` tells when the log ended, None while it goes on; `look` asks the server for that."""
        self._end = end
        with ui.element("div").classes("card"):
            with ui.row().classes("actions"):
                self._more = parts.button("Older lines", self._visit.act(self._back), icon="expand_less")
                parts.button("Newest lines", self._visit.act(self._newest), icon="vertical_align_bottom")
                self._severe = ui.switch("Errors only", on_change=self._visit.act(self._newest))
            self._box = ui.element("div").classes("log").props('role="log" tabindex="0"')
            self._box.props["aria-label"] = "Log"
        await self._newest()

        async def follow() -> bool:
            await look()
            over = end() is not None
            await self._on()
            return not over

        if end() is None:
            self._visit.later(parts.polled(follow, self._box, slowest=2.0), self._box)

    def _filter(self, *more: str) -> str:
        severe = ["severity>=ERROR"] if self._severe.value else []
        return " AND ".join([self._text, *severe, *more])

    async def _newest(self) -> None:
        ended = self._end()
        await self._window((parse_timestamp(ended) if ended else datetime.now(UTC)) + timedelta(minutes=1))

    async def _window(self, end: datetime) -> None:
        """The last lines before a moment."""
        for span in _SPANS:
            begin = max(end - span, self._begin)
            self._asked = self._filter(
                f'timestamp>="{format_timestamp(begin)}"', f'timestamp<="{format_timestamp(end)}"'
            )
            answer = await self._visit.api.log(self._project, self._asked, size=WINDOW)
            self._all = begin == self._begin
            if self._all or len(answer.get("entries", ())) >= WINDOW:
                break
        self._show(answer)

    async def _back(self) -> None:
        """The window before the one in sight."""
        if self._older:
            self._show(await self._visit.api.log(self._project, self._asked, self._older, size=WINDOW))
        elif self._lines and not self._all:
            await self._window(parse_timestamp(self._lines[0]["timestamp"]))

    def _show(self, answer: Json) -> None:
        self._older = answer.get("nextPageToken", "")
        self._more.set_enabled(bool(self._older) or not self._all)
        self._lines.clear()
        self._lines.extend(reversed(answer.get("entries", [])))
        self._draw()

    async def _on(self) -> None:
        """Lines written since the last one that is known."""
        if not self._lines:
            await self._newest()
            return
        since = self._filter(f'timestamp>="{self._lines[-1]["timestamp"]}"')
        answer = await self._visit.api.log(self._project, since, newest=False, size=WINDOW)
        known = {line.get("insertId") for line in self._lines}
        fresh = [line for line in answer.get("entries", ()) if line.get("insertId") not in known]
        if fresh:
            self._lines.extend(fresh)
            self._draw()

    def _draw(self) -> None:
        if self._box.is_deleted:
            return
        self._box.clear()
        with self._box:
            if not self._lines:
                parts.hint("No lines.")
            for line in self._lines:
                tone = " log-bad" if line.get("severity") in _BAD else ""
                text = str(line.get("textPayload", ""))[:_LONGEST]
                ui.label(f"{str(line.get('timestamp', ''))[:19]}  {text}").classes(f"log-line{tone}")
