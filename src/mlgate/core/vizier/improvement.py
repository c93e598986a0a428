"""How much better would a trial make the study? What the search maximizes: one metric, or a hypervolume of several.

Both are logarithms: an improvement that is as good as impossible still has a slope to follow (Ament et al., 2023,
arXiv 2310.20708). All values are losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import erfcx, logsumexp  # type: ignore[import-untyped]

from mlgate.core.vizier.encoding import Array
from mlgate.core.vizier.gp import GaussianProcess, Indices

_DIRECTIONS = 256
_DRAWS = 64
_ROOT2, _ROOT_HALF_PI, _LOG_ROOT_2PI = math.sqrt(2), math.sqrt(math.pi / 2), 0.5 * math.log(2 * math.pi)


class ExpectedImprovement:
    """The expected improvement on `mark`, in closed form."""

    def __init__(self, process: GaussianProcess, mark: float) -> None:
        self.process, self.mark = process, mark

    def score(self, features: Array) -> Array:
        mean, deviation = self.process.predict(features)
        return np.asarray(np.log(deviation) + _log_h((self.mark - mean) / deviation))

    def slope(self, features: Array, columns: Indices) -> tuple[float, Array]:
        (mean,), deviation, (d_mean,), d_deviation = self.process.slopes(features, columns)
        z = (self.mark - float(mean)) / deviation
        value, steep = _log_h_and_slope(z)
        return math.log(deviation) + value, (d_deviation - steep * (d_mean + z * d_deviation)) / deviation


class ImprovementBeside:
    """The expected improvement beside trials that are under way: on `mark`, and on what those bring.

    The mean over draws of what they may bring together, as in Snoek et al., 2012, arXiv 1206.2944. The process is
    conditioned on it: with a deviation for all draws, as that does not depend on outcomes, and a mean for each.
    """

    def __init__(
        self, process: GaussianProcess, x: Array, y: Array, waiting: Array, mark: float, rng: np.random.Generator
    ) -> None:
        """`x`, `y`: what the process has seen. `waiting`: the features of what is under way."""
        half = rng.normal(size=(_DRAWS // 2, len(waiting)))
        draws = process.drawn(waiting, np.r_[half, -half])
        self.process, self.marks = process, np.minimum(mark, draws.min(axis=1))
        process.condition(np.r_[x, waiting], np.r_[np.repeat(y[:, None], _DRAWS, axis=1), draws.T])

    def score(self, features: Array) -> Array:
        means, deviation = self.process.predict(features)
        values = _log_h((self.marks - means) / deviation[:, None])
        return np.asarray(np.log(deviation) + logsumexp(values, axis=1) - math.log(_DRAWS))

    def slope(self, features: Array, columns: Indices) -> tuple[float, Array]:
        means, deviation, d_means, d_deviation = self.process.slopes(features, columns)
        z = (self.marks - means) / deviation
        values = _log_h(z)
        total = float(logsumexp(values))
        steep = np.exp(values - total) * _steepness(z)
        slope = (d_deviation - steep @ (d_means + z[:, None] * d_deviation)) / deviation
        return math.log(deviation) + total - math.log(_DRAWS), slope


class HypervolumeImprovement:
    """The expected growth of the hypervolume that the trials dominate, up to a point a little behind the worst.

    The hypervolume is the mean, over directions from that point, of how far one gets in a direction, to the power of
    the number of metrics (Zhang, Golovin, 2020, arXiv 2006.04655). The mean is taken over fixed directions, each with
    one draw of what the processes believe, so that the result is smooth in the features.
    """

    def __init__(self, processes: Sequence[GaussianProcess], losses: Array, rng: np.random.Generator) -> None:
        self.processes, self.power = processes, losses.shape[1]
        low, high = losses.min(axis=0), losses.max(axis=0)
        self.reference = high + 0.1 * np.maximum(high - low, 1e-9)
        directions = np.abs(rng.normal(size=(_DIRECTIONS, self.power))) + 1e-6
        self.steps = np.linalg.norm(directions, axis=1)[:, None] / directions
        self.draws = rng.normal(size=(_DIRECTIONS, self.power))
        self.reached = self._reach(losses[:, None, :]).max(axis=0)

    def score(self, features: Array) -> Array:
        beliefs = [process.predict(features) for process in self.processes]
        mean, deviation = np.stack([b[0] for b in beliefs], axis=1), np.stack([b[1] for b in beliefs], axis=1)
        reach = self._reach(mean[:, None, :] + deviation[:, None, :] * self.draws)
        growth = np.maximum(reach**self.power - self.reached**self.power, 0.0).mean(axis=1)
        return np.asarray(np.log(growth + 1e-9 * (1 + reach.mean(axis=1))))

    def slope(self, features: Array, columns: Indices) -> tuple[float, Array]:
        beliefs = [process.slopes(features, columns) for process in self.processes]
        mean, deviation = np.concatenate([b[0] for b in beliefs]), np.array([b[1] for b in beliefs])
        distances = (self.reference - mean - deviation * self.draws) * self.steps
        narrow = distances.argmin(axis=1)  # the metric that stops us in each direction
        rows = np.arange(_DIRECTIONS)
        reach = np.maximum(distances[rows, narrow], 0.0)
        growth = np.maximum(reach**self.power - self.reached**self.power, 0.0)
        total = growth.mean() + 1e-9 * (1 + reach.mean())
        by_reach = np.where(growth > 0, self.power * reach ** (self.power - 1), 0.0) + np.where(reach > 0, 1e-9, 0.0)
        by_loss = -by_reach * self.steps[rows, narrow] / (_DIRECTIONS * total)
        slope = np.zeros(len(columns))
        for metric, (_, _, (d_mean,), d_deviation) in enumerate(beliefs):
            here = narrow == metric
            slope += by_loss[here].sum() * d_mean + (by_loss[here] @ self.draws[here, metric]) * d_deviation
        return math.log(total), slope

    def _reach(self, losses: Array) -> Array:
        """How far one gets in each direction before a metric stops it."""
        return np.asarray(np.maximum(((self.reference - losses) * self.steps).min(axis=-1), 0.0))


def _log_h(z: Array) -> Array:
    """log(phi(z) + z Phi(z)), exact far into the tail, where the plain formula is 0."""
    near = np.minimum(z, 5.0)
    rest = np.maximum(1 + near * _ROOT_HALF_PI * erfcx(near / -_ROOT2), 1e-18)
    return np.where(z > 5, np.log(np.maximum(z, 5.0)), near**2 / -2 - _LOG_ROOT_2PI + np.log(rest))


def _steepness(z: Array) -> Array:
    """How `_log_h` changes."""
    near = np.minimum(z, 5.0)
    mills = _ROOT_HALF_PI * erfcx(near / -_ROOT2)
    return np.where(z > 5, 1 / np.maximum(z, 5.0), mills / np.maximum(1 + near * mills, 1e-18))


def _log_h_and_slope(z: float) -> tuple[float, float]:
    """`_log_h` of one number, and how it changes."""
    if z > 5:
        return math.log(z), 1 / z
    mills = _ROOT_HALF_PI * float(erfcx(z / -_ROOT2))
    rest = max(1 + z * mills, 1e-18)
    return z**2 / -2 - _LOG_ROOT_2PI + math.log(rest), mills / rest
