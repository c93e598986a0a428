"""GRID_SEARCH: every point of a finite space, in the order of `Space.points`, whatever came before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from mlgate.core.vizier.space import Assignment, key
from mlgate.core.vizier.study import StudyConfig, Trial


def suggest(config: StudyConfig, trials: Sequence[Trial], count: int, seed: int, next_id: int) -> list[Assignment]:
    seen = {trial.key for trial in trials}
    return list(islice((point for point in config.space.points() if key(point) not in seen), count))
