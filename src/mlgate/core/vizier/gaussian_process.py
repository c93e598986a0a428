"""GAUSSIAN_PROCESS_BANDIT: the point where a Gaussian process expects the most improvement.

1. The first point is the middle of the space; some quasi-random ones follow (`_first_point`).
2. What is infeasible counts as the worst that was seen, in each metric.
3. The worse half of each metric is pressed together by rank, so that the model spends itself on the good ones.
4. The suggestion has the greatest expected improvement, of the best value or of the hypervolume (`improvement.py`).
5. Beside pending trials it is the improvement on what those may bring; with several metrics, they count as if they had
   come out somewhat worse than expected. Every other suggestion beside pending trials is made without 3: what looks
   best with and without it differs, and a batch has room for both. None is all but the same as a pending one.

The process sees at most `_MOST_TRIALS` trials: the best ones, and the latest of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import ndtri  # type: ignore[import-untyped]

from mlgate.core.vizier.encoding import Array, Encoding, Flags
from mlgate.core.vizier.gp import GaussianProcess, Indices, fit
from mlgate.core.vizier.improvement import ExpectedImprovement, HypervolumeImprovement, ImprovementBeside
from mlgate.core.vizier.random_search import draw
from mlgate.core.vizier.search import Search
from mlgate.core.vizier.space import CATEGORICAL, Assignment, key
from mlgate.core.vizier.study import StudyConfig, Trial

Improvement = ExpectedImprovement | ImprovementBeside | HypervolumeImprovement

_MOST_TRIALS = 160
_ENUMERATED = 2000  # finite spaces up to this size are looked at point by point
_LATTICE_WIDTH = 20  # beyond, its steps are all about 1 and a few points of it lie close together
_FIRST_BESIDE = 10
_SAME = 1e-3  # of a scale: trials that are closer in everything tell the same
_MUCH_NOISE = 1e-2  # variance, of outcomes that are standardized
_PESSIMISM = 1.0  # standard deviations by which a pending trial is taken to be worse than expected


def suggest(config: StudyConfig, trials: Sequence[Trial], count: int, seed: int, next_id: int) -> list[Assignment]:
    """Up to `count` points, fewer when a finite space runs out."""
    designer = _Designer(config, trials, seed)
    points: list[Assignment] = []
    for trial_id in range(next_id, next_id + count):
        row = designer.next(trial_id)
        if row is None:
            break
        points.append(designer.encoding.decode(row))
        designer.await_outcome(row, points[-1])
    return points


class _Designer:
    """Trials as numbers: those that tell something, and those that are still to tell."""

    def __init__(self, config: StudyConfig, trials: Sequence[Trial], seed: int) -> None:
        self.encoding, self.seed = Encoding(config.space), seed
        self.width = len(config.space.parameters)
        self.seen = {trial.key for trial in trials}
        self.pending = [self.encoding.encode(trial.parameters) for trial in trials if trial.is_pending]
        told = [(trial, trial.losses(config.metrics)) for trial in trials if not trial.is_pending]
        told = [(trial, losses) for trial, losses in told if losses or trial.infeasible]
        self.codes = np.array([self.encoding.encode(trial.parameters) for trial, _ in told]).reshape(-1, self.width)
        self.feasible: Flags = np.array([losses is not None for _, losses in told], bool)
        self.losses = np.array([losses for _, losses in told if losses]).reshape(-1, len(config.metrics))
        self._processes: dict[tuple[bytes, bytes], list[GaussianProcess]] = {}

    def await_outcome(self, row: Array, point: Assignment) -> None:
        self.pending.append(row)
        self.seen.add(key(point))

    def next(self, trial_id: int) -> Array | None:
        size, rng = self.encoding.space.size, np.random.default_rng([self.seed, trial_id])
        if size is not None and len(self.seen) >= size:
            return None
        started = len(self.codes) + len(self.pending)
        # So many points before there is a model: a batch that rests on five is a batch of guesses.
        first = _FIRST_BESIDE if self.pending else max(5, min(_FIRST_BESIDE, self.width + 1))
        if started < first or len(self.losses) < 2:
            row = self._first_point(started, trial_id)
            return row if key(self.encoding.decode(row)) not in self.seen else draw(self.encoding, self.seen, rng)
        is_plain = bool(self.pending) and trial_id % 2 == 0
        return self._best_point(standardized if is_plain else warp, rng)

    def _first_point(self, started: int, trial_id: int) -> Array:
        """The middle, then the lattice of the generalized golden ratio, shifted by the study's seed."""
        if not started:
            middle = [0.0 if p.kind == CATEGORICAL else 0.5 for p in self.encoding.space.parameters]
            return np.asarray(self.encoding.canonical(np.array([middle]))[0])
        if self.width > _LATTICE_WIDTH:
            uniform = np.random.default_rng([self.seed, trial_id]).random(self.width)
        else:
            ratio = 2.0
            for _ in range(50):  # the root of x^(width + 1) = x + 1
                ratio = (1 + ratio) ** (1 / (self.width + 1))
            shift = np.random.default_rng(self.seed).random(self.width)
            uniform = (shift + trial_id * ratio ** -np.arange(1.0, self.width + 1)) % 1.0
        return np.asarray(self.encoding.sample(uniform[None])[0])

    def _best_point(self, seen_as: Callable[[Array], Array], rng: np.random.Generator) -> Array | None:
        losses = self._losses()
        overall = _toward_hypervolume(losses, rng)
        chosen = telling(overall)
        codes, y = self.codes[chosen], np.stack([seen_as(column) for column in losses[chosen].T], axis=1)
        improvement = self._improvement(self.encoding.features(codes), y, rng)
        search = Search(self.encoding, improvement.score, improvement.slope, rng)
        size = self.encoding.space.size
        if size is not None and size <= _ENUMERATED:
            left = [self.encoding.encode(p) for p in self.encoding.space.points() if key(p) not in self.seen]
            return left[int(np.argmax(search.score(np.array(left))))]
        ranked = search.ranked(codes[np.argsort(overall[chosen], kind="stable")[:5]])
        unseen: Iterator[Array] = (row for row in ranked if key(self.encoding.decode(row)) not in self.seen)
        second: Array | None = None
        for row in unseen:
            if self._is_clear(row):
                return row
            second = row if second is None else second
        return draw(self.encoding, self.seen, rng) if second is None else second

    def _is_clear(self, row: Array) -> bool:
        """Whether it differs from every pending trial in some parameter."""
        waiting = np.nan_to_num(np.array(self.pending).reshape(-1, self.width), nan=-1.0)
        return bool((np.abs(waiting - np.nan_to_num(row, nan=-1.0)) > _SAME).any(axis=1).all())

    def _improvement(self, x: Array, y: Array, rng: np.random.Generator) -> Improvement:
        waiting = self.encoding.features(np.array(self.pending[-_MOST_TRIALS:]).reshape(-1, self.width))
        processes = self._fitted(x, y)
        if len(processes) > 1:
            for process, column in zip(processes, y.T, strict=True) if len(waiting) else ():
                mean, deviation = process.predict(waiting)
                process.condition(np.r_[x, waiting], np.r_[column, mean + _PESSIMISM * deviation])
            return HypervolumeImprovement(processes, y, rng)
        # With much noise the best observation is luck: what the process believes is the better mark to beat.
        believed = processes[0].noise > _MUCH_NOISE
        mark = float(np.min(processes[0].predict(x)[0] if believed else y[:, 0]))
        if len(waiting):
            return ImprovementBeside(processes[0], x, y[:, 0], waiting, mark, rng)
        return ExpectedImprovement(processes[0], mark)

    def _fitted(self, x: Array, y: Array) -> list[GaussianProcess]:
        """A process for each metric, conditioned on these trials; a batch fits them once."""
        known = (x.tobytes(), y.tobytes())
        if known not in self._processes:
            self._processes[known] = [fit(x, column, self.encoding.owner) for column in y.T]
        for process, column in zip(self._processes[known], y.T, strict=True):
            process.condition(x, column)
        return self._processes[known]

    def _losses(self) -> Array:
        """A row for each trial; what is infeasible is as bad as the worst in everything."""
        scaled = self.losses / np.maximum(np.abs(self.losses).max(axis=0), 1e-300)
        losses = np.tile(scaled.max(axis=0), (len(self.codes), 1))
        losses[self.feasible] = scaled
        return losses


def _toward_hypervolume(losses: Array, rng: np.random.Generator) -> Array:
    """How far each row falls short along a random direction from a point behind the worst; smaller is better."""
    if losses.shape[1] == 1:
        return losses[:, 0]
    low, high = losses.min(axis=0), losses.max(axis=0)
    direction = np.abs(rng.normal(size=losses.shape[1])) + 1e-6
    return np.asarray(-((1.1 - (losses - low) / np.maximum(high - low, 1e-12)) / direction).min(axis=1))


def telling(outcomes: Array) -> Indices:
    """The trials that the process gets to see, in their order."""
    n = len(outcomes)
    if n <= _MOST_TRIALS:
        return np.arange(n)
    order = np.argsort(outcomes, kind="stable")
    best, rest = order[: _MOST_TRIALS // 2], np.sort(order[_MOST_TRIALS // 2 :])
    return np.sort(np.r_[best, rest[-(_MOST_TRIALS - _MOST_TRIALS // 2) :]])


def warp(outcomes: Array) -> Array:
    """Standardized; what is worse than the median takes the place that a normal distribution gives its rank.

    The half-rank warping of OSS Vizier (Song et al., 2024, arXiv 2408.11527).
    """
    median, n = float(np.median(outcomes)), len(outcomes)
    good = outcomes <= median
    warped = outcomes.copy()
    if n > 2 and not good.all():
        spread = math.sqrt(float(np.square(outcomes[good] - median).mean())) or float(outcomes.std()) or 1.0
        ranks = np.argsort(np.argsort(outcomes, kind="stable"), kind="stable")
        quantiles = ndtri((ranks + 0.5) / n)
        unit = max(math.sqrt(float(np.square(quantiles[good]).mean())), 1e-9)
        warped[~good] = median + spread * quantiles[~good] / unit
    return standardized(warped)


def standardized(outcomes: Array) -> Array:
    """With a mean of 0 and a deviation of 1; of 0 where all are the same."""
    deviation, size = float(outcomes.std()), abs(float(np.median(outcomes)))
    return np.asarray((outcomes - outcomes.mean()) / (deviation if deviation > 1e-12 * max(size, 1e-12) else 1.0))
