"""Which trials of a study are optimal: the best ones, or with several metrics those that no other trial dominates."""

from __future__ import annotations

from collections.abc import Sequence

from mlgate.core.vizier.study import Metric, Trial


def optimal_trials(metrics: Sequence[Metric], trials: Sequence[Trial]) -> list[Trial]:
    """In the order given, ties included. Only completed, feasible trials that report every metric take part."""
    told = [(trial, losses) for trial in trials if (losses := trial.losses(metrics)) is not None]
    # Whoever dominates a trial comes before it in this order, and is itself dominated only by trials further ahead:
    # the front so far is all that a trial needs to be compared with.
    front: list[list[float]] = []
    for _, losses in sorted(told, key=lambda pair: pair[1]):
        if not any(_dominates(other, losses) for other in front):
            front.append(losses)
    best = {tuple(losses) for losses in front}
    return [trial for trial, losses in told if tuple(losses) in best]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
