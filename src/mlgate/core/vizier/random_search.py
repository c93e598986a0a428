"""RANDOM_SEARCH: points drawn independently along the scales, each a new one where the space is finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgate.core.vizier.encoding import Array, Encoding
from mlgate.core.vizier.space import Assignment, Value, key
from mlgate.core.vizier.study import StudyConfig, Trial

_TRIES = 200


def suggest(config: StudyConfig, trials: Sequence[Trial], count: int, seed: int, next_id: int) -> list[Assignment]:
    encoding, seen = Encoding(config.space), {trial.key for trial in trials}
    points: list[Assignment] = []
    for trial_id in range(next_id, next_id + count):
        row = draw(encoding, seen, np.random.default_rng([seed, trial_id]))
        if row is None:
            break
        points.append(encoding.decode(row))
        seen.add(key(points[-1]))
    return points


def draw(encoding: Encoding, seen: set[frozenset[tuple[str, Value]]], rng: np.random.Generator) -> Array | None:
    """Codes of a random point that is not in `seen`; None if there is no such point."""
    space = encoding.space
    if space.size is None or space.size > len(seen):
        for _ in range(_TRIES):
            row: Array = encoding.sample(rng.random((1, len(space.parameters))))[0]
            if key(encoding.decode(row)) not in seen:
                return row
    if space.size is None:
        return None
    # Few points are left, or those left are unlikely along their scales: look through all, which are not many more.
    left = _first_unseen(encoding, seen)
    return encoding.encode(left[int(rng.integers(len(left)))]) if left else None


def _first_unseen(encoding: Encoding, seen: set[frozenset[tuple[str, Value]]]) -> list[Assignment]:
    unseen: list[Assignment] = []
    for point in encoding.space.points():
        if key(point) not in seen:
            unseen.append(point)
            if len(unseen) == 1000:
                break
    return unseen
