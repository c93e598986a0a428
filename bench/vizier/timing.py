"""What one suggestion costs when it is rebuilt from stored trials: a fresh contestant, n finished trials, one point."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from bench.vizier.contestants import CONTESTANTS, Sampling
from bench.vizier.problems import ALL

PROBLEM = "ellipsoid-8"
REPEATS = 5


def measure(contestant: str, sizes: Sequence[int]) -> dict[int, float]:
    """Median CPU seconds for each number of trials, after one round that pays for imports."""
    problem, rng = ALL[PROBLEM], np.random.default_rng(0)
    points = [point for _, point in Sampling(problem.config, 7, sobol=False).ask(max(sizes))]
    history = [(point, problem.evaluate(point, rng)) for point in points]
    times: dict[int, float] = {}
    for size in (sizes[0], *sizes):
        took = []
        for seed in range(REPEATS if size <= 200 else 3):
            start = time.process_time()
            player = CONTESTANTS[contestant](problem.config, seed)
            player.load(history[:size])
            player.ask(1)
            took.append(time.process_time() - start)
        times[size] = float(np.median(took))
    return times


def table(times: dict[str, dict[int, float]]) -> Iterator[str]:
    sizes = sorted({size for row in times.values() for size in row})
    yield "| contestant | " + " | ".join(f"n = {size}" for size in sizes) + " |"
    yield "|---|" + "---|" * len(sizes)
    for name, row in times.items():
        yield f"| {name} | " + " | ".join(f"{1000 * row[s]:.0f} ms" if s in row else "" for s in sizes) + " |"
