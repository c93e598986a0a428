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
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from mlgate.core.vizier.study import COMPLETED, Metric, Stopping, StudyConfig, Trial

MEDIAN_NEEDS = 3
DECAY_NEEDS = 5
UNLIKELY = 0.05
_FULL = 0.95  # a curve that gets this far along the longest one was not cut short
_MOST_CURVES = 150  # of which the process learns: those that stood nearest here


class Curve:
    """Where and what was measured, as losses, in order; the final measurement ends it, unless it is said to lie before
    the others."""

    __slots__ = ("losses", "places")

    def __init__(self, trial: Trial, metric: Metric, by_time: bool) -> None:
        points: dict[float, float] = {}
        for measurement in (*trial.measurements, *((trial.final,) if trial.final else ())):
            value, place = measurement.metrics.get(metric.name, math.nan), measurement.along(by_time)
            # Many clients report the final value without its step: that is no point at the beginning.
            if math.isfinite(value) and (measurement is not trial.final or place >= max(points, default=place)):
                points[place] = metric.sign * value
        self.places = array("d", sorted(points))
        self.losses = array("d", (points[place] for place in self.places))

    def __len__(self) -> int:
        return len(self.places)

    def average(self, place: float) -> float | None:
        """The running average up to a place; None if nothing was measured so early."""
        losses = self.losses[: bisect_right(self.places, place)]
        return fmean(losses) if losses else None

    def at(self, place: float) -> float:
        """The loss at a place: on the line between its neighbours, level beyond the ends."""
        i = bisect_right(self.places, place)
        if i in (0, len(self)):
            return self.losses[max(i - 1, 0)]
        left, right, before, after = *self.places[i - 1 : i + 1], *self.losses[i - 1 : i + 1]
        return before + (after - before) * (place - left) / (right - left)


@dataclass(frozen=True)
class Forecast:
    """What there is to calculate before the decay curve speaks: what remained from here for completed curves of these
    shapes, and what that says of the trial's own. A shape is the value here, and how far it fell since half the way."""

    shapes: Sequence[Sequence[float]]
    remaining: Sequence[float]
    shape: Sequence[float]
    best: float

    def is_hopeless(self) -> bool:
        """Whether it is unlikely that the trial beats the best. Needs numpy and scipy."""
        mean, deviation = _predict(self.shapes, self.remaining, self.shape)
        loss = self.shape[0] + mean
        return 0.5 * math.erfc((loss - self.best) / (math.sqrt(2) * max(deviation, 1e-12))) < UNLIKELY


def should_stop(config: StudyConfig, trials: Sequence[Trial], trial: Trial) -> bool:
    """What the study's rule says of `trial`; `trials` are all trials of the study, it may be among them."""
    if not has_rule(config):
        return False
    others = [other for other in trials if other.id != trial.id]
    curves = [curve for other in others if (curve := completed_curve(config, other))]
    finals = [losses[0] for other in others if (losses := other.losses(config.metrics))]
    said = verdict(config, curves, finals, trial)
    return said.is_hopeless() if isinstance(said, Forecast) else said


def has_rule(config: StudyConfig) -> bool:
    return config.stopping is not None and len(config.metrics) == 1


def completed_curve(config: StudyConfig, trial: Trial) -> Curve | None:
    """What others are compared with, where the study has a rule: the curve of a completed, feasible trial."""
    if trial.state != COMPLETED or trial.infeasible or not has_rule(config):
        return None
    return _curve(config, trial) or None


def verdict(config: StudyConfig, curves: Sequence[Curve], finals: Sequence[float], trial: Trial) -> bool | Forecast:
    """What the study's rule says of a trial beside the completed curves and the outcomes of the other trials."""
    if not has_rule(config):
        return False
    running, rule = _curve(config, trial), _rule(config).rule
    if not running:
        return False
    if rule == "median":
        return _is_below_median(curves, running)
    return _forecast(curves, running, min(finals)) if finals else False


def _rule(config: StudyConfig) -> Stopping:
    assert config.stopping is not None
    return config.stopping


def _curve(config: StudyConfig, trial: Trial) -> Curve:
    return Curve(trial, config.metrics[0], _rule(config).use_elapsed_time)


def _is_below_median(curves: Sequence[Curve], running: Curve) -> bool:
    here = running.places[-1]
    averages = [average for curve in curves if (average := curve.average(here)) is not None]
    return len(averages) >= MEDIAN_NEEDS and min(running.losses) > median(averages)


def _forecast(curves: Sequence[Curve], running: Curve, best: float) -> bool | Forecast:
    """`best` is the loss to beat. False where too little is known, or there is nothing left to save."""
    here, now = running.places[-1], running.losses[-1]
    end = max((curve.places[-1] for curve in curves), default=0.0)
    full = [curve for curve in curves if curve.places[-1] >= _FULL * end and curve.places[0] <= here]
    if len(full) < DECAY_NEEDS or here >= _FULL * end:
        return False
    near = sorted(full, key=lambda curve: abs(curve.at(here) - now))[:_MOST_CURVES]
    shapes = [_shape(curve, here) for curve in near]
    return Forecast(shapes, [curve.losses[-1] - curve.at(here) for curve in near], _shape(running, here), best)


def _shape(curve: Curve, here: float) -> tuple[float, float]:
    now = curve.at(here)
    return now, curve.at(here / 2) - now


def _predict(
    shapes: Sequence[Sequence[float]], remaining: Sequence[float], shape: Sequence[float]
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
