"""The plots of a study as SVG: what the server says of a plot, drawn with nothing but text.

Everything is placed on a unit square that `_Panel` maps to the page; the data brings positions along the scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from mlgate.cli.failure import Failure

Json = Mapping[str, Any]

_WIDTH, _HEIGHT, _MARGIN, _GAP = 640, 400, 64, 34
_INK, _FAINT, _BEST, _POINT = "#333", "#ccc", "#c2410c", "#2563eb"
_STYLE = "text{font:12px sans-serif;fill:#333}"


def draw(plot: Json) -> str:
    """A whole SVG document. Raises Failure for a plot with nothing to draw."""
    drawing = _DRAWINGS.get(plot["kind"])
    if drawing is None:
        raise Failure("UNIMPLEMENTED", f"{plot['kind']} cannot be drawn: write it as .json.")
    panels = drawing(plot["data"])
    if not panels:
        raise Failure("FAILED_PRECONDITION", "There is nothing to draw yet: no trial has a result.")
    height = len(panels) * _HEIGHT
    body = "".join(f'<g transform="translate(0 {n * _HEIGHT})">{panel.svg()}</g>' for n, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'
    )


class _Panel:
    """A unit square with axes; x to the right, y up."""

    def __init__(self, title: str, x: str, y: str) -> None:
        self._parts = [
            _text(_WIDTH / 2, 20, title, "middle"),
            _text(_WIDTH / 2, _HEIGHT - 8, x, "middle"),
            f'<g transform="translate(14 {_HEIGHT / 2}) rotate(-90)">{_text(0, 0, y, "middle")}</g>',
        ]

    def at(self, x: float, y: float) -> tuple[float, float]:
        wide, high = _WIDTH - _MARGIN - 16, _HEIGHT - 2 * _GAP - 14
        return round(_MARGIN + x * wide, 1), round(_HEIGHT - _GAP - 14 - y * high, 1)

    def line(self, points: Iterable[tuple[float, float]], colour: str, width: float = 1.5) -> None:
        path = " ".join("{},{}".format(*self.at(x, y)) for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dot(self, x: float, y: float, colour: str, told: str) -> None:
        across, down = self.at(x, y)
        title = f"<title>{escape(told)}</title>"
        self._parts.append(f'<circle cx="{across}" cy="{down}" r="3.5" fill="{colour}">{title}</circle>')

    def box(self, left: float, low: float, right: float, high: float, colour: str) -> None:
        (x0, y1), (x1, y0) = self.at(left, low), self.at(right, high)
        self._parts.append(f'<rect x="{x0}" y="{y0}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="{colour}"/>')

    def frame(self) -> None:
        self.line([(0, 1), (0, 0), (1, 0)], _INK, 1)

    def ticks(self, across: Iterable[tuple[float, str]] = (), up: Iterable[tuple[float, str]] = ()) -> None:
        for at, label in across:
            x, y = self.at(at, 0)
            self._parts.append(_text(x, y + 16, label, "middle"))
        for at, label in up:
            x, y = self.at(0, at)
            self._parts.append(_text(x - 6, y + 4, label, "end"))

    def svg(self) -> str:
        return "".join(self._parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text[:60])}</text>'


# ------------------------------------------------------------------------------------------------------------ plots


def _history(data: Json) -> list[_Panel]:
    panels = []
    for series in data["series"]:
        points = series["points"]
        if not points:
            continue
        panel = _Panel(f"{series['metric']}, {series['goal'].lower()}", "trial", series["metric"])
        place, ticks = _scale([p["value"] for p in points])
        last = max(p["trial"] for p in points)
        panel.frame()
        panel.ticks([(1 / last, "1"), (1, str(last))], ticks)
        panel.line([(p["trial"] / last, place(p["best"])) for p in points], _BEST)
        for p in points:
            panel.dot(p["trial"] / last, place(p["value"]), _POINT, f"trial {p['trial']}: {p['value']:g}")
        panels.append(panel)
    return panels


def _parallel(data: Json) -> list[_Panel]:
    lines = data["lines"]
    if not lines:
        return []
    metric = next(iter(lines[0]["metrics"]))
    values = [line["metrics"][metric] for line in lines]
    place, ticks = _scale(values)
    axes = data["axes"]
    panel = _Panel("parallel coordinates", "", "")
    for n, axis in enumerate(axes):
        x = n / len(axes)
        panel.line([(x, 0), (x, 1)], _FAINT, 1)
        panel.ticks([(x, axis["parameter"])])
    panel.line([(1, 0), (1, 1)], _INK, 1)
    panel.ticks([(1, metric)], [(at, "") for at, _ in ticks])
    for line, value in sorted(zip(lines, values, strict=True), key=lambda pair: pair[1]):
        points = [
            (n / len(axes), line["at"][str(a["index"])]) for n, a in enumerate(axes) if str(a["index"]) in line["at"]
        ]
        panel.line([*points, (1, place(value))], _heat(place(value)), 1)
    return [panel]


def _slice(data: Json) -> list[_Panel]:
    panels = []
    for one in data["panels"]:
        if not one["points"]:
            continue
        metric = next(iter(one["points"][0]["metrics"]))
        place, ticks = _scale([p["metrics"][metric] for p in one["points"]])
        panel = _Panel("", one["axis"]["parameter"], metric)
        panel.frame()
        panel.ticks(_ends(one["axis"]), ticks)
        for p in one["points"]:
            value = p["metrics"][metric]
            panel.dot(p["at"], place(value), _POINT, f"trial {p['trial']}: {p['value']}, {value:g}")
        panels.append(panel)
    return panels


def _pareto(data: Json) -> list[_Panel]:
    names = [metric["metric"] for metric in data["metrics"]]
    if len(names) < 2:
        raise Failure("FAILED_PRECONDITION", "A Pareto front has two metrics or more; this study has one.")
    points = data["points"]
    if not points:
        return []
    across, ticks_x = _scale([p["metrics"][names[0]] for p in points])
    up, ticks_y = _scale([p["metrics"][names[1]] for p in points])
    panel = _Panel("Pareto front", names[0], names[1])
    panel.frame()
    panel.ticks(ticks_x, ticks_y)
    for p in sorted(points, key=lambda p: bool(p["optimal"])):
        x, y = p["metrics"][names[0]], p["metrics"][names[1]]
        panel.dot(across(x), up(y), _BEST if p["optimal"] else _POINT, f"trial {p['trial']}: {x:g}, {y:g}")
    return [panel]


def _importance(data: Json) -> list[_Panel]:
    shares = data["parameters"]
    panel = _Panel(f"importance for {data['metric']}", "", "")
    for n, share in enumerate(shares):
        top = 1 - n / len(shares)
        panel.box(0, top - 0.7 / len(shares), max(share["importance"], 0.002), top, _POINT)
        panel.ticks(up=[(top - 0.35 / len(shares), share["parameter"][:9])])
    panel.ticks([(0, "0"), (1, "1")])
    return [panel]


def _contour(data: Json) -> list[_Panel]:
    columns, rows = (_unit(positions) for positions in data["positions"])
    place, _ = _scale([value for level in data["levels"] for value in level])
    first, second = data["axes"]
    panel = _Panel(f"expected {data['metric']}", first["parameter"], second["parameter"])
    wide, high = 1 / len(columns), 1 / len(rows)
    for row, level in enumerate(data["levels"]):
        for column, value in enumerate(level):
            panel.box(column * wide, row * high, (column + 1) * wide, (row + 1) * high, _heat(place(value)))
    panel.ticks(_ends(first), _ends(second))
    for p in data["points"]:
        x, y = ((0.5 + at * (n - 1)) / n for at, n in zip(p["at"], (len(columns), len(rows)), strict=True))
        panel.dot(x, y, "#fff", f"trial {p['trial']}: {p['value']:g}")
    return [panel]


_DRAWINGS: Mapping[str, Callable[[Json], list[_Panel]]] = {
    "history": _history,
    "parallelCoordinates": _parallel,
    "slice": _slice,
    "paretoFront": _pareto,
    "importance": _importance,
    "contour": _contour,
}


def _scale(values: Sequence[float]) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Where a value stands between the lowest and the highest, and what to write at both ends and in the middle."""
    low, high = min(values), max(values)
    span = high - low
    if not span or not math.isfinite(span):
        return (lambda _: 0.5), [(0.5, f"{low:.4g}")]
    return (lambda value: (value - low) / span), [(at, f"{low + at * span:.4g}") for at in (0.0, 0.5, 1.0)]


def _ends(axis: Json) -> list[tuple[float, str]]:
    if "values" in axis:
        values = axis["values"]
        return [(n / max(len(values) - 1, 1), str(value)[:12]) for n, value in enumerate(values)][:12]
    return [(0.0, f"{axis['low']:.4g}"), (1.0, f"{axis['high']:.4g}")]


def _unit(positions: Sequence[float]) -> list[float]:
    top = max(positions) or 1.0
    return [position / top for position in positions]


def _heat(at: float) -> str:
    """From blue (low) through white to red (high)."""
    low, middle, high = (37, 99, 235), (245, 245, 245), (194, 65, 12)
    start, end, share = (low, middle, at * 2) if at < 0.5 else (middle, high, at * 2 - 1)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(start, end, strict=True))
