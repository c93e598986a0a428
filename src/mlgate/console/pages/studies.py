"""Studies: how far a search has come, what it has learned, and every trial."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from nicegui import ui

from mlgate.console import charts, parts
from mlgate.console.tabs.bar import tabs
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]

_COLUMNS = {"id": "Study", "state": "State", "location": "Location", "goal": "Goal", "created": "Created (UTC)"}
_TABS = {"history": "Progress", "curves": "Learning curves", "parallel": "Parallel coordinates", "slice": "Slices",
         "contour": "Contour", "importance": "Importance", "front": "Pareto front", "trials": "Trials"}  # fmt: skip
#: Curves that are told apart in one chart; more would be a tangle.
_CURVES = 60
_MOST_LABELS = 8


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    ui.page_title(f"Studies - {project} - mlgate")
    with parts.heading("Studies"):
        pass
    found = await visit.api.studies(project)
    with ui.element("div").classes("card card-table"):
        if not found:
            parts.empty(
                "No studies yet", "A study searches good parameters for whatever you can measure. Begin one with:",
                "mlgate studies create tuning --metric loss:minimize --parameter lr=double:0.0001:0.1:log",
                icon="insights",
            )  # fmt: skip
            return
        rows = [
            {
                "name": study["name"], "id": id_of(study["name"]), "state": study.get("state", ""),
                "tone": parts.tone(study.get("state", "")), "location": study["name"].split("/")[3],
                "goal": ", ".join(map(_goal, study.get("studyConfig", {}).get("metrics", ()))),
                "created": parts.when(study.get("createTime")), "link": parts.path(*study["name"].split("/")),
            }
            for study in found
        ]  # fmt: skip
        parts.table(_COLUMNS, rows, label=f"Studies of {project}",
                    slots={"id": parts.LINK_CELL, "state": parts.STATE_CELL})  # fmt: skip


def _goal(metric: Json) -> str:
    return f"{metric.get('goal', '').lower()} {metric.get('metric', '')}"


async def study_page(visit: Visit, project: str, location: str, study: str, query: dict[str, str]) -> None:
    ui.page_title(f"{study} - mlgate")
    name = f"projects/{project}/locations/{location}/studies/{study}"
    found = await visit.api.get(name)
    await StudyView(visit, project, found).build(query.get("tab", ""))


class StudyView:
    def __init__(self, visit: Visit, project: str, study: Json) -> None:
        self._visit, self._project, self._study = visit, project, study
        self._name, self._config = study["name"], study.get("studyConfig", {})
        self._metrics = [metric["metric"] for metric in self._config.get("metrics", ())]
        self._trials: list[Json] | None = None

    async def build(self, tab: str) -> None:
        with parts.heading(id_of(self._name), [("Studies", parts.path("projects", self._project, "studies"))]):
            parts.state(self._study.get("state", ""))
            parts.hint(", ".join(map(_goal, self._config.get("metrics", ()))))
        titles = {n: t for n, t in _TABS.items() if n != "front" or len(self._metrics) > 1}
        await tabs(self._visit, tuple(self._name.split("/")), titles, tab, {
            "history": self._history, "curves": self._curves, "parallel": self._parallel, "slice": self._slice,
            "contour": self._contour, "importance": self._importance, "front": self._front, "trials": self._table,
        })  # fmt: skip

    async def _listed(self) -> list[Json]:
        if self._trials is None:
            found = await self._visit.api.trials(self._name)
            self._trials = sorted(found, key=lambda trial: int(id_of(trial["name"])))
        return self._trials

    # ------------------------------------------------------------------------------------------------------- charts

    async def _history(self) -> None:
        data = await self._visit.api.plot(self._name, "history")
        if not any(series["points"] for series in data["series"]):
            self._nothing()
            return
        for series in data["series"]:
            points = series["points"]
            best = charts.number(points[-1]["best"]) if points else "none"
            title = f"{series['metric']}, to {series['goal'].lower()}"
            with parts.card(title):
                ui.label(f"Best so far: {best} after {len(points)} trials").classes("title-3")
                charts.chart(
                    {
                        "legend": {"top": 0}, "xAxis": charts.value_axis("trial"),
                        "yAxis": charts.value_axis(series["metric"], nameGap=46),
                        "series": [
                            {"type": "scatter", "name": "trials", "symbolSize": 6, "large": len(points) > 2000,
                             "data": [[p["trial"], p["value"]] for p in points]},
                            {"type": "line", "name": "best so far", "step": "end", "showSymbol": False,
                             "data": [[p["trial"], p["best"]] for p in points]},
                        ],
                    },
                    f"{series['metric']} of each trial, and the best so far: {best}",
                )  # fmt: skip

    async def _curves(self) -> None:
        trials = await self._listed()
        shown = [trial for trial in trials if len(trial.get("measurements", ())) > 1]
        if not shown:
            parts.empty(
                "No learning curves", "Trials that report values on their way are drawn here.", icon="show_chart"
            )
            return
        for metric in self._metrics:
            curves = [
                (f"trial {id_of(trial['name'])}", [
                    (float(m.get("stepCount", 0)), value["value"])
                    for m in trial["measurements"] for value in m.get("metrics", ()) if value.get("metric") == metric
                ])
                for trial in shown[-_CURVES:]
            ]  # fmt: skip
            with parts.card(metric):
                if len(shown) > _CURVES:
                    parts.hint(f"The newest {_CURVES} of {len(shown)} trials.")
                charts.lines(curves, "step", metric, f"{metric} of each trial over its steps")

    async def _parallel(self) -> None:
        data = await self._visit.api.plot(self._name, "parallelCoordinates")
        metric = self._metrics[0]
        lines, axes = data["lines"], data["axes"]
        if not lines:
            self._nothing()
            return
        values = [line["metrics"][metric] for line in lines]
        options = {
            "parallelAxis": [
                *({"dim": i, "name": axis["parameter"], "type": "value", "min": 0, "max": 1, **_labels(axis)}
                  for i, axis in enumerate(axes)),
                {"dim": len(axes), "name": metric, "scale": True},
            ],
            "parallel": {"left": 40, "right": 90, "top": 40, "bottom": 30,
                         "parallelAxisDefault": {"axisLine": {"lineStyle": {"color": "#8b94a3"}}}},
            "visualMap": self._ramp(values, len(axes)),
            "series": [{"type": "parallel", "lineStyle": {"width": 1, "opacity": 0.5}, "data": [
                [*(line["at"].get(str(i)) for i in range(len(axes))), line["metrics"][metric]] for line in lines
            ]}],
        }  # fmt: skip
        with parts.card("Parallel coordinates"):
            parts.hint(
                "A line is a trial; each axis runs along the scale of its parameter: " + "; ".join(map(_told, axes))
            )
            charts.chart(options, f"{len(lines)} trials across {len(axes)} parameters and {metric}", tall=True)

    async def _slice(self) -> None:
        data = await self._visit.api.plot(self._name, "slice")
        metric = self._metrics[0]
        if not any(panel["points"] for panel in data["panels"]):
            self._nothing()
            return
        with ui.element("div").classes("grid"):
            for panel in data["panels"]:
                axis, points = panel["axis"], panel["points"]
                with parts.card(axis["parameter"]):
                    parts.hint(_told(axis))
                    charts.chart(
                        {
                            "xAxis": charts.value_axis("", min=0, max=1, axisLabel={"show": False}),
                            "yAxis": charts.value_axis(metric, nameGap=46),
                            "series": [{"type": "scatter", "symbolSize": 6, "data": [
                                {"value": [p["at"], p["metrics"][metric]], "name": f"{p['value']}"} for p in points
                            ]}],
                        },
                        f"{metric} over {axis['parameter']}, {len(points)} trials",
                    )  # fmt: skip

    async def _importance(self) -> None:
        for metric in self._metrics:
            data = await self._visit.api.plot(self._name, "importance", metric=metric)
            shares = list(reversed(data["parameters"]))
            with parts.card(f"What {metric} depends on"):
                told = ", ".join(f"{s['parameter']} {s['importance']:.0%}" for s in data["parameters"])
                charts.chart(
                    {
                        "xAxis": charts.value_axis("", max=1), "grid": {"left": 12, "right": 40, "top": 10,
                                                                       "bottom": 24, "containLabel": True},
                        "yAxis": {"type": "category", "data": [share["parameter"] for share in shares]},
                        "series": [{"type": "bar", "data": [round(share["importance"], 4) for share in shares],
                                    "label": {"show": True, "position": "right"}}],
                    },
                    f"Share of each parameter: {told}",
                )  # fmt: skip

    async def _contour(self) -> None:
        names = [parameter["parameter"] for parameter in self._config.get("parameters", ())]
        if len(names) < 2:
            parts.empty("A contour needs two parameters", "This study has one.", icon="grid_on")
            return
        with ui.element("div").classes("row-in"):
            first = ui.select(names, value=names[0], label="Across").props("outlined dense")
            second = ui.select(names, value=names[1], label="Up").props("outlined dense")
            metric = ui.select(self._metrics, value=self._metrics[0], label="Metric").props("outlined dense")
        box = ui.element("div")

        async def draw() -> None:
            if first.value == second.value:
                return
            data = await self._visit.api.plot(
                self._name, "contour", first=first.value, second=second.value, metric=metric.value
            )
            box.clear()
            with box, parts.card(f"Expected {metric.value}"):
                self._draw_contour(data)

        for select in (first, second, metric):
            select.on_value_change(self._visit.act(draw))
        await draw()

    def _draw_contour(self, data: Json) -> None:
        across, up = data["positions"]
        cells = [[j, i, data["levels"][i][j]] for i in range(len(up)) for j in range(len(across))]
        axes = [
            {"type": "category", "data": [f"{value:.3g}" for value in positions], "name": axis["parameter"],
             "nameLocation": "middle", "nameGap": 24, "axisLabel": {"show": False}}
            for positions, axis in zip(data["positions"], data["axes"], strict=True)
        ]  # fmt: skip
        parts.hint("; ".join(map(_told, data["axes"])))
        charts.chart(
            {
                "xAxis": axes[0], "yAxis": axes[1], "visualMap": self._ramp([cell[2] for cell in cells], 2),
                "grid": {"left": 40, "right": 100, "top": 12, "bottom": 40},
                "series": [{"type": "heatmap", "data": cells}],
            },
            f"Expected {data['metric']} over {' and '.join(axis['parameter'] for axis in data['axes'])}", tall=True,
        )  # fmt: skip

    async def _front(self) -> None:
        data = await self._visit.api.plot(self._name, "paretoFront")
        if not data["points"]:
            self._nothing()
            return
        first, second = [metric["metric"] for metric in data["metrics"]][:2]

        def points(optimal: bool) -> list[list[float]]:
            return [[p["metrics"][first], p["metrics"][second]] for p in data["points"] if p["optimal"] is optimal]

        with parts.card("Pareto front"):
            parts.hint("No trial is better than an optimal one in everything.")
            charts.chart(
                {
                    "legend": {"top": 0}, "xAxis": charts.value_axis(first),
                    "yAxis": charts.value_axis(second, nameGap=46),
                    "series": [{"type": "scatter", "name": "other trials", "symbolSize": 5, "data": points(False)},
                               {"type": "scatter", "name": "optimal", "symbolSize": 9, "data": points(True)}],
                },
                f"{second} over {first}: {len(points(True))} optimal trials of {len(data['points'])}", tall=True,
            )  # fmt: skip

    def _ramp(self, values: Sequence[float], dimension: int) -> Json:
        goal = self._config["metrics"][0].get("goal")
        ramp = list(charts.RAMP if goal == "MAXIMIZE" else reversed(charts.RAMP))
        return {
            "min": min(values), "max": max(values), "dimension": dimension, "right": 0, "top": "middle",
            "inRange": {"color": ramp}, "calculable": False, "itemHeight": 120, "precision": 3,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- trials

    async def _table(self) -> None:
        trials = await self._listed()
        if not trials:
            self._nothing()
            return
        names = sorted({p["parameter"] for trial in trials for p in trial.get("parameters", ())})
        columns = {"id": "Trial", "state": "State", **{f"m.{m}": m for m in self._metrics},
                   **{f"p.{n}": n for n in names}, "client": "Client"}  # fmt: skip
        rows = [_row(trial) for trial in trials]
        with ui.element("div").classes("card card-table"):
            with ui.element("div").classes("toolbar"):
                ui.label(f"{len(rows)} trials").classes("hint search")
                parts.button("Export CSV", lambda: ui.download.content(_csv(columns, rows), f"{id_of(self._name)}.csv"),
                             icon="download", kind="outline")  # fmt: skip
            shown = [{name: _rounded(value) for name, value in row.items()} for row in rows]
            parts.table(columns, shown, key="id", label="Trials", slots={"state": parts.STATE_CELL})

    @staticmethod
    def _nothing() -> None:
        parts.empty("No trial has ended yet", "Run some, and what they found is drawn here:",
                    "mlgate studies optimize STUDY --trials 20 -- python train.py", icon="insights")  # fmt: skip


def _row(trial: Json) -> parts.Row:
    state = "INFEASIBLE" if trial.get("trialInfeasible") else trial.get("state", "")
    found = {
        f"p.{p['parameter']}": next((p[kind] for kind in ("floatValue", "intValue", "stringValue") if kind in p), "")
        for p in trial.get("parameters", ())
    }
    measured = {
        f"m.{m['metric']}": m.get("value")
        for m in trial.get("finalMeasurement", {}).get("metrics", ())
        if "metric" in m
    }
    return {"id": int(id_of(trial["name"])), "state": state, "tone": parts.tone(state),
            "client": trial.get("clientId", ""), **measured, **found}  # fmt: skip


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _csv(columns: dict[str, str], rows: Sequence[parts.Row]) -> bytes:
    """The table as CSV; a cell that a spreadsheet would run as a formula is made text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns.values())
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell
                         for cell in cells])  # fmt: skip
    return out.getvalue().encode()


def _labels(axis: Json) -> Json:
    """Of an axis from 0 to 1: what its parameter is at the ends, or each of a few categories at its place."""
    texts = [str(value) for value in axis.get("values", ())] or [charts.number(axis[end]) for end in ("low", "high")]
    if len(texts) > _MOST_LABELS:
        texts = [texts[0], texts[-1]]
    steps = max(len(texts) - 1, 1)
    text_at = f"at => {json.dumps(texts)}[Math.round(at * {steps})] ?? ''"
    return {"interval": 1 / steps, "axisTick": {"show": False}, "axisLabel": {":formatter": text_at}}


def _told(axis: Json) -> str:
    if "values" in axis:
        return f"{axis['parameter']}: {', '.join(map(str, axis['values']))}"
    return f"{axis['parameter']}: {charts.number(axis['low'])} to {charts.number(axis['high'])}"
