"""Charts. They are drawn as SVG, so that the page's own colours hold in them, in light and in dark; each has a table
of the same numbers for whoever does not see it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.visit import Visit
from mlgate.core.wire import format_timestamp, parse_timestamp

Json = dict[str, Any]

#: Colours that are told apart in light and in dark, and by most of those who do not see all colours.
COLOURS = ("#3b7ddd", "#d9822b", "#2f9e77", "#c2528b", "#8a63d2", "#7a8794")
#: From bad to good.
RAMP = ("#b8c4d6", "#5a8fd8", "#14408c")
_GREY = "#8b94a3"


def chart(options: Json, label: str, *, tall: bool = False) -> ui.echart:
    """A chart of ECharts' options; `label` says in words what it shows."""
    with ui.element("figure").style("margin: 0; width: 100%") as figure:
        figure.props["role"] = "img"
        figure.props["aria-label"] = label
        made = ui.echart(_STYLE | options, renderer="svg").classes("chart" + (" chart-tall" if tall else ""))
    return made


_STYLE: Json = {
    "backgroundColor": "transparent",
    "color": list(COLOURS),
    "animation": False,
    "textStyle": {"fontFamily": "inherit"},
    "tooltip": {"trigger": "item", "className": "chart-tip", "confine": True},
    "grid": {"left": 12, "right": 24, "top": 36, "bottom": 36, "containLabel": True},
}


def value_axis(name: str, **more: Any) -> Json:
    return {
        "type": "value", "name": name, "nameLocation": "middle", "nameGap": 30, "scale": True,
        "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.25}}, "axisLine": {"lineStyle": {"color": _GREY}},
        **more,
    }  # fmt: skip


def number(value: float) -> str:
    return f"{value:.5g}"


def lines(series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: str, y: str, label: str) -> ui.echart:
    """Lines over a number."""
    return chart(
        {
            "legend": {"show": len(series) < 12, "type": "scroll", "top": 0},
            "xAxis": value_axis(x), "yAxis": value_axis(y, nameGap=46),
            "series": [
                {"type": "line", "name": name, "data": [list(point) for point in points], "symbolSize": 4,
                 "showSymbol": len(points) < 60}
                for name, points in series
            ],
        },
        label,
    )  # fmt: skip


#: A time to look back: its words, how long it is, and the length of a period in it.
_SPANS = {
    "hour": ("last hour", timedelta(hours=1), "60s"),
    "day": ("last day", timedelta(days=1), "600s"),
    "month": ("last 30 days", timedelta(days=30), "14400s"),
}
#: Seconds between two looks at what has been counted; the server adds to it every few.
_LOOK = 5.0


async def traffic(visit: Visit, name: str) -> None:
    """Requests, failures and latency of a model or a version, where the server counts them."""
    chosen = ui.toggle({key: words for key, (words, *_) in _SPANS.items()}, value="day").props("no-caps dense flat")
    chosen.props["aria-label"] = "Since when"
    box = ui.element("div").classes("form")
    shown: list[Json] = []

    async def draw() -> None:
        now, (_, span, period) = datetime.now(UTC), _SPANS[chosen.value]
        query = {
            "startTime": format_timestamp(now - span), "endTime": format_timestamp(now), "alignmentPeriod": period,
        }  # fmt: skip
        try:
            found = await visit.api.metrics(name, query)
        except Failure as failure:
            if failure.http_status not in (404, 405, 501):
                raise
            found = {}
        told = {field: found.get(field) for field in ("alignmentPeriod", "points", "total")}
        if told in shown or box.is_deleted:
            return
        shown[:] = [told]
        box.clear()
        with box:
            _draw_traffic(found)

    async def look() -> bool:
        await draw()
        return True

    chosen.on_value_change(visit.act(draw))
    await draw()
    visit.later(parts.polled(look, box, _LOOK, _LOOK), box)


def _draw_traffic(found: Json) -> None:
    points, total = found.get("points", []), found.get("total", {})
    if not points:
        parts.empty("No requests", "Nobody has called it in this time. What is counted appears within a minute.",
                    icon="query_stats")  # fmt: skip
        return
    times = [parse_timestamp(point["startTime"]).timestamp() * 1000 for point in points]
    failed = [sum(map(int, point.get("failures", {}).values())) for point in points]
    fine = [int(point.get("requests", 0)) - bad for point, bad in zip(points, failed, strict=True)]
    statuses = ", ".join(f"{count} of {status}" for status, count in sorted(total.get("failures", {}).items()))
    with parts.card("Requests"):
        ui.label(f"{total.get('requests', 0)} requests; failures: {statuses or 'none'}").classes("title-3")
        _over_time("requests", [("answered", times, fine), ("failed", times, failed)], "bar")
    with parts.card("Latency"):
        quantiles = ("p50", "p95", "p99")
        told = ", ".join(f"{q} {_milliseconds(total.get(q)):.3g} ms" for q in quantiles if total.get(q))
        ui.label(told or "No model process has answered.").classes("title-3")
        series = [(q, times, [_milliseconds(point.get(q)) for point in points]) for q in quantiles]
        _over_time("milliseconds", series, "line")


def _over_time(unit: str, series: Sequence[tuple[str, Sequence[float], Sequence[float]]], kind: str) -> None:
    chart(
        {
            "legend": {"top": 0}, "xAxis": {"type": "time", "axisLine": {"lineStyle": {"color": _GREY}}},
            "yAxis": value_axis(unit, min=0, nameGap=46), "useUTC": True,
            "series": [
                {"type": kind, "name": name, "data": [list(pair) for pair in zip(times, values, strict=True)],
                 "barMaxWidth": 12, **({"stack": "all"} if kind == "bar" else {})}
                for name, times, values in series
            ],
        },
        f"{unit} over time, {len(series[0][1])} periods",
    )  # fmt: skip


def _milliseconds(duration: str | None) -> float:
    return float(duration[:-1]) * 1000 if duration else 0.0
