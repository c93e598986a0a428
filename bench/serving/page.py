"""The page that the benchmark writes: what was promised and holds or not, then ratios, then absolute figures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.authz.measure import table
from bench.serving.contestants import (
    BY_NAME,
    CELLS,
    CONTESTANTS,
    FASTAPI,
    IN_PROCESS,
    MLGATE,
    MLGATE_ONNX,
    NOOP,
    PROTOTYPE,
    PROTOTYPE_ONNX,
    Cell,
)
from bench.serving.environments import version
from bench.serving.models import MODELS

Record = dict[str, Any]
Figures = dict[str, float]
Rows = Iterable[Sequence[object]]

_INTRO = """# Benchmarks of prediction

Written by `make bench-serving`. Read the ratios first: each compares two contestants of one run on one machine. Every
contestant's server, with all its processes, had one core, the load another; its answers were checked before it was
timed. Figures are medians over rounds in which each had its turn. CPU is the operating system's count over all of a
contestant's processes: the figure that other work on the machine moves least. Every request of a cell is the same: a
processor learns the branches of its trees, for every contestant alike."""

_ONE_BY_ONE = (
    "Without its copy, a forest asked by one caller costs what it costs in process: see that row among the figures."
    " There servers differ by less than the machine does from one round to the next."
)

_TITLES = {"xgb": "XGBoost, 200 trees", "iris": "iris pipeline", "rf": "random forest, 100 trees"}


class Results:
    """Records of a run, as medians."""

    def __init__(self, records: Iterable[Record]) -> None:
        cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
        starts: dict[str, list[Record]] = defaultdict(list)
        self.absent: dict[str, str] = {}
        for record in records:
            if "why" in record:
                self.absent[record["contestant"]] = record["why"]
            elif "cell" in record:
                cells[record["contestant"], record["cell"]].append(record)
            else:
                starts[record["contestant"]].append(record)
        self._cells = {key: _median(some) for key, some in cells.items()}
        self.starts = {name: _median(some) for name, some in starts.items()}
        self.errors = {
            name: round(sum(r["errors"] for (n, _), some in cells.items() if n == name for r in some))
            for name in {name for name, _ in cells}
        }
        self.largest = {
            name: max(r.get("pss", 0) for (n, _), some in cells.items() if n == name for r in some)
            for name in {name for name, _ in cells}
        }
        measured = {name for name, _ in cells}
        self.names = [c.name for c in CONTESTANTS if c.name in measured]
        self.cells = [cell for cell in CELLS if any((name, str(cell)) in cells for name in measured)]

    def get(self, name: str, cell: Cell) -> Figures | None:
        return self._cells.get((name, str(cell)))

    def ratio(self, name: str, peer: str, cell: Cell, figure: str = "per_second") -> float | None:
        """The first's figure over the other's; None when one of them was not measured."""
        ours, theirs = self.get(name, cell), self.get(peer, cell)
        if ours is None or theirs is None or not theirs[figure]:
            return None
        return ours[figure] / theirs[figure]


def _median(records: Sequence[Record]) -> Figures:
    figures = [key for key, value in records[0].items() if isinstance(value, (int, float)) and key != "round"]
    return {key: statistics.median(r[key] for r in records if key in r) for key in figures}


# What was promised


@dataclass(frozen=True)
class Bar:
    """A promise: the ratio of mlgate's figure to somebody's, in one cell, is at least (or at most) a bound."""

    says: str
    ours: str
    theirs: str
    cell: Cell
    bound: float
    figure: str = "per_second"
    is_most: bool = False

    def row(self, results: Results) -> tuple[str, ...]:
        bound = f"at {'most' if self.is_most else 'least'} {self.bound:g}×"
        for name in (self.ours, self.theirs):
            if results.get(name, self.cell) is None:
                return self.says, bound, f"{name} was not measured", "**not shown**"
        ratio = results.ratio(self.ours, self.theirs, self.cell, self.figure)
        if ratio is None:
            return self.says, bound, f"{self.theirs} answered nothing", "yes"
        holds = ratio <= self.bound if self.is_most else ratio >= self.bound
        return self.says, bound, f"{ratio:.2f}×", "yes" if holds else "**no**"


_ONE, _MANY = Cell("xgb", 1, 1), Cell("xgb", 1, 64)
_OTHERS = ("BentoML, batching", "MLServer, 0 workers", "MLServer, 1 worker", "KServe SDK", "MLflow")
BARS = (
    Bar(f"xgb, 64 connections: requests/s ÷ {FASTAPI}", MLGATE, FASTAPI, _MANY, 15),
    *(Bar(f"xgb, 64 connections: requests/s ÷ {name}", MLGATE, name, _MANY, 10) for name in _OTHERS),
    Bar(f"xgb, 1 connection: requests/s ÷ {FASTAPI}", MLGATE, FASTAPI, _ONE, 1),
    Bar(f"xgb, 64 connections: CPU/request ÷ {PROTOTYPE}", MLGATE, PROTOTYPE, _MANY, 1.3, "cpu_us", is_most=True),
    Bar(f"ONNX copy, xgb, 64 connections: requests/s ÷ {FASTAPI}", MLGATE_ONNX, FASTAPI, _MANY, 20),
    Bar(f"ONNX copy, xgb, 1 connection: requests/s ÷ {FASTAPI}", MLGATE_ONNX, FASTAPI, _ONE, 5),
    Bar(
        f"ONNX copy, xgb, 64 connections: CPU/request ÷ {PROTOTYPE_ONNX}", MLGATE_ONNX, PROTOTYPE_ONNX, _MANY, 1.3,
        "cpu_us", is_most=True,
    ),
)  # fmt: skip


def _bars(results: Results) -> Iterator[str]:
    rows = [bar.row(results) for bar in BARS]
    rows += [_ahead(results, ours, model) for ours in (MLGATE, MLGATE_ONNX) for model in MODELS]
    yield from ("## What was promised", "", *table(("promise", "bound", "measured", "holds"), rows), "", _ONE_BY_ONE)


def _ahead(results: Results, ours: str, model: str) -> tuple[str, ...]:
    """Whether mlgate (`ours`: with copies or without) answers more requests a second than every peer in every cell of a
    model."""
    peers = [name for name in results.names if BY_NAME[name].kind == "peer"]
    pairs = [(peer, cell) for cell in results.cells if cell.model == model for peer in peers]
    ratios = {pair: ratio for pair in pairs if (ratio := results.ratio(ours, *pair)) is not None}
    says, bound = f"{ours}, {model}: ahead of every peer in every cell", "at least 1×"
    if not ratios:
        return says, bound, "not measured", "**not shown**"
    behind = [f"{p}, {c.instances} × {c.connections}: {r:.2f}×" for (p, c), r in ratios.items() if r < 1]
    return says, bound, "; ".join(behind) or f"least {min(ratios.values()):.2f}×", "**no**" if behind else "yes"


# Ratios and figures


def _matrix(results: Results, model: str, names: Sequence[str], show: Callable[[str, Cell], str]) -> Iterator[str]:
    cells = [cell for cell in results.cells if cell.model == model]
    head = ["instances × connections", *(f"{cell.instances} × {cell.connections}" for cell in cells)]
    if cells:
        yield from ("", f"**{_TITLES[model]}**", "", *table(head, [[n, *(show(n, c) for c in cells)] for n in names]))


def ratios(results: Results) -> Iterator[str]:
    """mlgate's rates over the others': a section of Markdown, line by line."""
    yield "## Requests per second: mlgate ÷ the other"
    for ours in (MLGATE, MLGATE_ONNX):
        if ours not in results.names:
            continue
        if ours != MLGATE:
            yield from ("", f"### {ours} ÷ the other")
        others = [name for name in results.names if name != ours]

        def show(name: str, cell: Cell, ours: str = ours) -> str:
            ratio = results.ratio(ours, name, cell)
            return "" if ratio is None else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"

        for model in MODELS:
            yield from _matrix(results, model, others, show)
    yield from (
        "",
        f"`{NOOP}` is a constant answer on mlgate's HTTP server, `{IN_PROCESS}` the model in a plain loop without HTTP,"
        " one request after the other: limits of the two halves, and no servers.",
    )


def figures(results: Results) -> Iterator[str]:
    """Rates, CPU and latencies of all: two sections of Markdown, line by line."""

    def cpu(name: str, cell: Cell) -> str:
        figures = results.get(name, cell)
        return f"{figures['per_second']:,.0f} ({figures['cpu_us']:,.0f})" if figures else ""

    def latency(name: str, cell: Cell) -> str:
        figures = results.get(name, cell)
        return f"{figures['p50_ms']:.3g} / {figures['p99_ms']:.3g}" if figures else ""

    for title, show in (
        ("## Requests per second (CPU µs per request)", cpu),
        ("## Latency, ms: median / 99th percentile", latency),
    ):
        yield from ("", title)
        for model in MODELS:
            yield from _matrix(results, model, results.names, show)


def _contestants(results: Results) -> Iterator[str]:
    head = ("contestant", "start-up, s", "processes", "RSS, MB", "PSS, MB", "PSS under load, MB", "errors", "what")

    def row(name: str) -> Sequence[object]:
        contestant, errors = BY_NAME[name], results.errors.get(name, "")
        release = version(contestant.environment)
        about = f"{contestant.about} ({contestant.environment} {release})" if release else contestant.about
        start = results.starts.get(name)
        if start is None:
            return name, "", "", "", "", "", errors, about
        rss, pss, most = (
            f"{value / 2**20:,.0f}" for value in (start["rss"], start["pss"], results.largest.get(name, 0))
        )
        return name, f"{start['startup_s']:.1f}", f"{start['processes']:.0f}", rss, pss, most, errors, about

    rows: Rows = [row(name) for name in results.names]
    yield from ("## Contestants", "", *table(head, rows))
    yield from (
        "",
        "Start-up is from the command to right answers of all its models; mlgate's were deployed before and are loaded"
        " again. Memory is the sum over all processes once they have answered, before load.",
    )
    absent = {name: why for name, why in results.absent.items() if name not in results.names}
    if absent:
        yield from ("", *table(("not measured", "why"), absent.items()))
    gone = {name: why for name, why in results.absent.items() if name in results.names}
    if gone:
        yield from ("", *table(("stopped before the end", "why"), gone.items()))


def page(records: Iterable[Record], about: str, more: Sequence[str] = ()) -> str:
    """Markdown. `about` is the paragraph on the machine and the run, `more` sections of other measurements."""
    results = Results(records)
    parts = [_INTRO, about, *("\n".join(part(results)) for part in (_bars, ratios, figures, _contestants)), *more]
    return "\n\n".join(part.strip() for part in parts) + "\n"
