"""How things are measured here. Rates are per second of CPU time of one core, so that other work on the machine weighs
little; latencies are wall-clock, for each question the best of three."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]

#: An engine is asked no longer than this in one measurement: slow ones are asked less.
ASKED_AT_MOST_S = 1.0


def rate(check: Callable[..., object], questions: Sequence[tuple[Any, ...]]) -> float:
    start = time.process_time()
    for question in questions:
        check(*question)
    return len(questions) / (time.process_time() - start)


def affordable(check: Callable[..., object], questions: Sequence[tuple[Any, ...]], sample: int = 20) -> int:
    """How many of the questions fit the time, by a sample of the last; asked twice, so that libraries are loaded."""
    each = 1 / max(rate(check, questions[-sample:]) for _ in range(2))
    return max(sample, min(len(questions), int(ASKED_AT_MOST_S / each)))


def best_of_three(
    check: Callable[..., object], questions: Sequence[tuple[Any, ...]], before: Callable[[], object] = lambda: None
) -> list[float]:
    """The least time that each question took, in microseconds, in order of size; `before` runs before each round."""
    rounds = []
    for _ in range(3):
        before()
        rounds.append(timed(check, questions))
    return sorted(min(times) / 1e3 for times in zip(*rounds, strict=True))


def timed(check: Callable[..., object], questions: Iterable[tuple[Any, ...]]) -> list[int]:
    now, taken = time.perf_counter_ns, []
    for question in questions:
        start = now()
        check(*question)
        taken.append(now() - start)
    return taken


def spread(ordered: Sequence[float], digits: int = 2) -> tuple[float, float, float]:
    """Median, 99th percentile and longest."""
    p99 = ordered[len(ordered) * 99 // 100]
    return round(statistics.median(ordered), digits), round(p99, digits), round(ordered[-1], digits)


def collection() -> float:
    """How long a full collection of cyclic garbage takes, without what `gc.freeze` put aside."""
    start = time.process_time()
    gc.collect()
    return time.process_time() - start


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")), "unknown CPU"
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Markdown; the first column is text, the others figures."""
    marks = ["---", *["--:"] * (len(head) - 1)]
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, marks, *rows)]
