"""Where in a space is a function highest? For functions that are quick for many points at once, and have slopes.

Random points and neighbours of the best known ones, some rounds of mutation, then for the best few in turn: follow the
slope along the numbers, and try every other choice for each parameter that has choices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]

from mlgate.core.vizier.encoding import Array, Encoding
from mlgate.core.vizier.gp import Indices
from mlgate.core.vizier.space import CATEGORICAL

_RANDOM, _NEAR, _ROUNDS, _KEPT, _OFFSPRING, _POLISHED, _STEPS = 300, 200, 4, 20, 5, 2, 25
_MOST_CHOICES = 64
_OPTIONS = {"maxiter": _STEPS, "ftol": 1e-6}


class Search:
    """`score` takes rows of features; `slope` takes one and the columns to differentiate by."""

    def __init__(
        self,
        encoding: Encoding,
        score: Callable[[Array], Array],
        slope: Callable[[Array, Indices], tuple[float, Array]],
        rng: np.random.Generator,
    ) -> None:
        self.encoding, self._score, self._slope, self.rng = encoding, score, slope, rng
        self.width = len(encoding.space.parameters)
        self.is_number = np.array([p.kind != CATEGORICAL for p in encoding.space.parameters])
        self.choices = [encoding.choices(p.index) for p in encoding.space.parameters]

    def score(self, codes: Array) -> Array:
        return self._score(self.encoding.features(codes))

    def ranked(self, around: Array) -> Array:
        """Canonical codes, the best first. `around` are points whose neighbourhood is worth a look."""
        near = around[self.rng.integers(len(around), size=_NEAR)]
        codes = np.r_[
            self.encoding.sample(self.rng.random((_RANDOM, self.width))), self._mutated(near, -2.5, -0.5)
        ]  # fmt: skip
        scores = self.score(codes)
        for _ in range(_ROUNDS):
            kept = np.argsort(-scores, kind="stable")[:_KEPT]
            offspring = self._mutated(codes[np.repeat(kept, _OFFSPRING)], -3.0, -0.7)
            codes, scores = np.r_[codes[kept], offspring], np.r_[scores[kept], self.score(offspring)]
        order = np.argsort(-scores, kind="stable")
        polished = [self._climb(codes[i]) for i in order[:_POLISHED]]
        codes = np.r_[np.array([row for row, _ in polished]), codes[order]]
        scores = np.r_[[score for _, score in polished], scores[order]]
        return np.asarray(codes[np.argsort(-scores, kind="stable")])

    def _mutated(self, codes: Array, low: float, high: float) -> Array:
        """Each row with some numbers moved by about 10^low to 10^high, and some choices made anew."""
        rng, inactive = self.rng, np.isnan(codes)
        codes = np.where(inactive, rng.random(codes.shape), codes)
        moved = (rng.random(codes.shape) < max(0.3, 3 / self.width)) & self.is_number
        codes += moved * 10 ** rng.uniform(low, high, (len(codes), 1)) * rng.normal(size=codes.shape)
        codes[:, self.is_number] = np.clip(codes[:, self.is_number], 0.0, 1.0)
        for i, choices in enumerate(self.choices):
            if choices is not None:
                chosen = rng.random(len(codes)) < (0.15 if self.is_number[i] else 0.25)
                if not self.is_number[i]:
                    chosen |= inactive[:, i]
                codes[chosen, i] = choices[rng.integers(len(choices), size=int(chosen.sum()))]
        return self.encoding.canonical(codes)

    def _climb(self, row: Array) -> tuple[Array, float]:
        for _ in range(2):
            row, score = self._follow_slope(row)
            neighbours = self._neighbours(row)
            scores = self.score(neighbours)
            best = int(np.argmax(scores))
            if scores[best] <= score + 1e-9:
                break
            row, score = neighbours[best], float(scores[best])
        return row, score

    def _follow_slope(self, row: Array) -> tuple[Array, float]:
        free = np.flatnonzero(self.encoding.continuous & ~np.isnan(row))
        if not len(free):
            return row, float(self.score(row[None])[0])
        columns = np.array([self.encoding.columns[i].start for i in free])
        features = self.encoding.features(row[None])[0]

        def down(numbers: Array) -> tuple[float, Array]:
            features[columns] = numbers
            value, slope = self._slope(features, columns)
            return -value, -slope

        bounds = [(0.0, 1.0)] * len(free)
        found = minimize(down, row[free], jac=True, bounds=bounds, method="L-BFGS-B", options=_OPTIONS)
        moved = row.copy()
        moved[free] = found.x
        both = self.encoding.canonical(np.array([moved, row]))  # rounding to whole numbers may undo the gain
        scores = self.score(both)
        best = int(np.argmax(scores))
        return both[best], float(scores[best])

    def _neighbours(self, row: Array) -> Array:
        """The rows that differ in one parameter that has choices; whole numbers also one up and one down."""
        rows = [row[None]]
        for parameter in self.encoding.space.parameters:
            i, choices = parameter.index, self.choices[parameter.index]
            if np.isnan(row[i]) or (choices is None and not self.encoding.is_whole[i]):
                continue
            if choices is None:
                value = parameter.value_at(float(row[i]))
                beside = (max(value - 1, parameter.low), min(value + 1, parameter.high))
                choices = np.array([parameter.position(number) for number in beside])
            elif len(choices) > _MOST_CHOICES:
                choices = self.rng.choice(choices, _MOST_CHOICES, replace=False)
            changed = np.repeat(row[None], len(choices), axis=0)
            changed[:, i] = choices
            rows.append(changed)
        return self.encoding.canonical(np.concatenate(rows))
