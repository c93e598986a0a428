"""What one suggestion costs when it is rebuilt from stored trials: a fresh contestant, n finished trials, one point."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from bench.vizier.contestants import CONTESTANTS, Sampling
from bench.vizier.problems import ALL

PROBLEM = "ellipsoid-8"
MOST = {"optuna-gp": 500}  # more trials take it minutes


def measure(contestants: Sequence[str], sizes: Sequence[int]) -> dict[str, dict[int, float]]:
    """Median CPU seconds for each number of trials, after one round that pays for imports. The contestants take turns:
    what else the machine does hits all of them."""
    problem, rng = ALL[PROBLEM], np.random.default_rng(0)
    points = [point for _, point in Sampling(problem.config, 7, sobol=False).ask(max(sizes))]
    history = [(point, problem.evaluate(point, rng)) for point in points]
    times: dict[str, dict[int, float]] = {name: {} for name in contestants}
    for size in (sizes[0], *sizes):
        able = [name for name in contestants if size <= MOST.get(name, size)]
        took: dict[str, list[float]] = {name: [] for name in able}
        for seed in range(min(25, max(3, 1000 // size))):
            for name in able:
                start = time.process_time()
                player = CONTESTANTS[name](problem.config, seed)
                player.load(history[:size])
                player.ask(1)
                took[name].append(time.process_time() - start)
        for name in able:
            times[name][size] = float(np.median(took[name]))
    return times


def table(times: dict[str, dict[int, float]]) -> Iterator[str]:
    sizes = sorted({size for row in times.values() for size in row})
    yield "| contestant | " + " | ".join(f"n = {size}" for size in sizes) + " |"
    yield "|---|" + "---|" * len(sizes)
    for name, row in times.items():
        yield f"| {name} | " + " | ".join(_shown(row[s]) if s in row else "" for s in sizes) + " |"


def _shown(seconds: float) -> str:
    return f"{1000 * seconds:.{1 if seconds < 0.01 else 0}f} ms"
