"""The optimizer of Vizier: what to try next, when to stop trying, which trials are best.

Everything here is a pure function of the study's config and its trials. An algorithm is a file with one function,
`suggest(config, trials, count, seed, next_id)`, and a line in `_ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from mlgate.core.vizier.space import Assignment
from mlgate.core.vizier.study import GAUSSIAN_PROCESS, GRID, RANDOM, StudyConfig, Trial

_ALGORITHMS = {GAUSSIAN_PROCESS: "gaussian_process", GRID: "grid", RANDOM: "random_search"}


def suggest(
    config: StudyConfig, trials: Sequence[Trial], count: int, seed: int, next_id: int | None = None
) -> list[Assignment]:
    """Up to `count` new points, fewer or none when a finite space has no more.

    `trials` are all trials of the study, whatever their state: completed ones teach, pending ones are kept clear of,
    and none is repeated. `seed` belongs to the study (`seed_of`), `next_id` is the id of the first trial to be made,
    by default one more than the highest: the same arguments give the same points.
    """
    if next_id is None:
        next_id = 1 + max((trial.id for trial in trials), default=0)
    # Imported when needed: numpy and scipy take their time, and a grid needs neither.
    algorithm = import_module(f"mlgate.core.vizier.{_ALGORITHMS[config.algorithm]}")
    points: list[Assignment] = algorithm.suggest(config, trials, count, seed, next_id)
    return points
