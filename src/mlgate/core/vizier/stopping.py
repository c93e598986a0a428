"""Automated stopping: is a running trial worth its next steps?

A trial's measurements are a curve along its steps, or along its elapsed time where the config says so.

median       Stop if the best value of the trial so far is strictly worse than the median, over the completed trials,
             of the running average of their values up to where this trial is (AutomatedStoppingConfig in `ml` v1).
decay curve  Stop if the trial is very unlikely to end up better than the best completed trial. A Gaussian process
             learns from the completed curves how much a value still changes from here to the end, given the value
             and its last drop: from half the way, as curves flatten like logarithms.

Both are silent until some trials have completed, and with several metrics: a trial that is bad in one may be the best
in another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from mlgate.core.vizier.study import COMPLETED, Metric, StudyConfig, Trial

MEDIAN_NEEDS = 3
DECAY_NEEDS = 5
UNLIKELY = 0.05
_FULL = 0.95  # a curve that gets this far along the longest one was not cut short

Curve = list[tuple[float, float]]


def should_stop(config: StudyConfig, trials: Sequence[Trial], trial: Trial) -> bool:
    """What the study's rule says of `trial`; `trials` are all trials of the study, it may be among them."""
    if config.stopping is None or len(config.metrics) != 1:
        return False
    metric, by_time = config.metrics[0], config.stopping.use_elapsed_time
    running = curve(trial, metric, by_time)
    completed = [
        points
        for other in trials
        if other.id != trial.id and other.state == COMPLETED and not other.infeasible
        if (points := curve(other, metric, by_time))
    ]
    if not running:
        return False
    if config.stopping.rule == "median":
        return is_below_median(completed, running)
    finals = [losses[0] for other in trials if (losses := other.losses(config.metrics))]
    return bool(finals) and will_not_win(completed, running, min(finals))


def curve(trial: Trial, metric: Metric, by_time: bool) -> Curve:
    """Where and what was measured, as losses, in order. The final measurement ends the curve if it lies behind it."""
    points: dict[float, float] = {}
    for measurement in (*trial.measurements, *((trial.final,) if trial.final else ())):
        value = measurement.metrics.get(metric.name, math.nan)
        if math.isfinite(value):
            points[measurement.along(by_time)] = metric.sign * value
    return sorted(points.items())


def is_below_median(completed: Sequence[Curve], running: Curve) -> bool:
    here = running[-1][0]
    averages = [fmean(known) for points in completed if (known := [loss for at, loss in points if at <= here])]
    return len(averages) >= MEDIAN_NEEDS and min(loss for _, loss in running) > median(averages)


def will_not_win(completed: Sequence[Curve], running: Curve, best: float) -> bool:
    """`best` is the loss to beat."""
    here, now = running[-1]
    end = max((points[-1][0] for points in completed), default=0.0)
    full = [points for points in completed if points[-1][0] >= _FULL * end and points[0][0] <= here]
    if len(full) < DECAY_NEEDS or here >= _FULL * end:
        return False
    remaining = [points[-1][1] - _at(points, here) for points in full]
    mean, deviation = _predict([_shape(points, here) for points in full], remaining, _shape(running, here))
    return 0.5 * math.erfc((now + mean - best) / (math.sqrt(2) * max(deviation, 1e-12))) < UNLIKELY


def _shape(points: Curve, here: float) -> tuple[float, float]:
    """The value here, and how far it fell since half the way."""
    now = _at(points, here)
    return now, _at(points, here / 2) - now


def _at(points: Curve, here: float) -> float:
    """The loss at a place along the curve: on the line between its neighbours, level beyond the ends."""
    for (left, before), (right, after) in pairwise(points):
        if left <= here < right:
            return before + (after - before) * (here - left) / (right - left)
    return points[0][1] if here < points[0][0] else points[-1][1]


def _predict(
    shapes: Sequence[tuple[float, float]], remaining: Sequence[float], shape: tuple[float, float]
) -> tuple[float, float]:
    """Mean and standard deviation of the change that remains for a curve of this shape."""
    import numpy as np  # as in `suggest`: the median rule needs neither numpy nor scipy

    from mlgate.core.vizier.gp import fit

    x, y = np.array([*shapes, shape]), np.array(remaining)
    low, high = x.min(axis=0), x.max(axis=0)
    x = (x - low) / np.where(high > low, high - low, 1.0)
    centre, spread = float(y.mean()), float(y.std()) or 1e-6
    process = fit(x[:-1], (y - centre) / spread, np.arange(2))
    mean, deviation = process.predict(x[-1:])
    return centre + spread * float(mean[0]), spread * math.sqrt(float(deviation[0]) ** 2 + process.noise)
