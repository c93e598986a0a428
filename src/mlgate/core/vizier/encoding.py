"""Points of a space as rows of numbers, for the algorithms that calculate.

A row of *codes* has a number for each parameter of the tree: its position along the scale, the index of its category,
or NaN while it is inactive. Codes are canonical when every number is one that a trial can hold (whole numbers are
whole) and NaN stands exactly where the tree says so. *Features* are what a model sees: a column for each number, one
for each category; categories that differ are as far apart as the two ends of a scale. What is inactive lies in the
middle, where it tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlgate.core.vizier.space import (
    CATEGORICAL,
    DISCRETE,
    DOUBLE,
    INTEGER,
    LOG,
    REVERSE_LOG,
    Assignment,
    Parameter,
    Space,
    Value,
)

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_HALF = math.sqrt(0.5)


class Encoding:
    """Translates between assignments, codes and features of one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.columns: list[slice] = []
        width = 0
        for parameter in space.parameters:
            size = parameter.count if parameter.kind == CATEGORICAL else 1
            self.columns.append(slice(width, width + size))
            width += size
        self.width = width
        self.owner = np.repeat(np.arange(len(space.parameters)), [c.stop - c.start for c in self.columns])
        self._grids = {p.index: _grid(p) for p in space.parameters if p.kind == DISCRETE}
        self._matches = {
            p.index: _matches(space.parameters[p.parent], p) for p in space.parameters if p.parent is not None
        }
        self._blank = np.array([0.0 if p.kind == CATEGORICAL else 0.5 for p in space.parameters])
        self._doubles = [p.index for p in space.parameters if p.kind == DOUBLE]
        self._stepped = [p for p in space.parameters if p.kind in (INTEGER, DISCRETE) or p.low == p.high]
        self._children = [p for p in space.parameters if p.parent is not None]
        self._categories = [p for p in space.parameters if p.kind == CATEGORICAL]
        self._numbers = [p.index for p in space.parameters if p.kind != CATEGORICAL]
        self._number_columns = [self.columns[index].start for index in self._numbers]
        self.continuous = np.array([p.kind in (DOUBLE, INTEGER) and p.low < p.high for p in space.parameters])
        self.is_whole = np.array([p.kind == INTEGER for p in space.parameters])

    def encode(self, assignment: Mapping[str, Value]) -> Array:
        """The canonical codes of a point."""
        row = np.full(len(self.space.parameters), np.nan)
        for parameter, value in self.space.active(assignment):
            row[parameter.index] = _code(parameter, value)
        return row

    def decode(self, row: Array) -> Assignment:
        """The point of a row of codes, canonical or not."""
        assignment: Assignment = {}
        pending = list(reversed(self.space.children(None, None)))
        while pending:
            parameter = pending.pop()
            code = float(row[parameter.index])
            value = parameter.values[int(code)] if parameter.kind == CATEGORICAL else parameter.value_at(code)
            assignment[parameter.name] = value
            pending.extend(reversed(self.space.children(parameter, value)))
        return assignment

    def sample(self, uniform: Array) -> Array:
        """Canonical codes of points drawn with these numbers between 0 and 1, a row for each point.

        Every value of a DISCRETE or CATEGORICAL parameter is as likely as the next; the others follow their scale.
        """
        codes = uniform.copy()
        for parameter in (*self._categories, *self._stepped):
            i, u = parameter.index, uniform[:, parameter.index]
            if parameter.kind == CATEGORICAL:
                codes[:, i] = np.minimum(np.floor(u * parameter.count), parameter.count - 1)
            elif parameter.kind == DISCRETE:
                grid = self._grids[i]
                codes[:, i] = grid[np.minimum((u * len(grid)).astype(int), len(grid) - 1)]
            elif parameter.kind == INTEGER:
                codes[:, i] = _spread(parameter, u)
        return self.canonical(codes)

    def canonical(self, codes: Array) -> Array:
        """The nearest canonical codes. Inactive parameters may hold anything; what turns active needs a number."""
        snapped = np.where(np.isnan(codes), self._blank, codes)
        if self._doubles:
            snapped[:, self._doubles] = np.clip(snapped[:, self._doubles], 0.0, 1.0)
        for parameter in self._stepped:
            i, column = parameter.index, snapped[:, parameter.index]
            if parameter.kind == INTEGER:
                snapped[:, i] = _snap(parameter, column)
            elif parameter.kind == DISCRETE:
                snapped[:, i] = _nearest(self._grids[i], column)
            elif parameter.kind == DOUBLE:
                snapped[:, i] = 0.5
        if self._children:
            active = np.ones(codes.shape, bool)
            for child in self._children:
                i, above = child.index, child.parent
                active[:, i] = active[:, above] & np.isin(snapped[:, above], self._matches[i])
            snapped[~active] = np.nan
        return snapped

    def features(self, codes: Array) -> Array:
        """What a model sees of canonical codes."""
        features = np.empty((len(codes), self.width))
        numbers = codes[:, self._numbers]
        features[:, self._number_columns] = np.where(np.isnan(numbers), 0.5, numbers)
        for parameter in self._categories:
            column = codes[:, parameter.index]
            inactive = np.isnan(column)
            hot = np.zeros((len(codes), parameter.count))
            hot[np.arange(len(codes)), np.where(inactive, 0, column).astype(int)] = _HALF
            hot[inactive] = _HALF / parameter.count
            features[:, self.columns[parameter.index]] = hot
        return features

    def choices(self, index: int) -> Array | None:
        """The codes that a CATEGORICAL, DISCRETE or short INTEGER parameter can have; None for the others."""
        parameter = self.space.parameters[index]
        if parameter.kind == CATEGORICAL:
            return np.arange(parameter.count, dtype=float)
        if parameter.kind == DISCRETE:
            return self._grids[index]
        if parameter.kind == INTEGER and parameter.count <= 64:
            return np.array([_code(parameter, value) for value in parameter.every_value()])
        return None


def _code(parameter: Parameter, value: Value) -> float:
    if parameter.kind == CATEGORICAL:
        return float(parameter.values.index(value))
    return parameter.position(float(value))


def _grid(parameter: Parameter) -> Array:
    return np.array([parameter.position(float(value)) for value in parameter.values])


def _matches(parent: Parameter, child: Parameter) -> Array:
    """The codes of the parent that activate the child, exactly as `canonical` writes them."""
    values = np.array([_code(parent, value) for value in child.when])
    if parent.kind == INTEGER:
        return _snap(parent, values)
    return _nearest(_grid(parent), values) if parent.kind == DISCRETE else values


def _nearest(grid: Array, column: Array) -> Array:
    at = np.clip(np.searchsorted(grid, column), 1, max(len(grid) - 1, 1))
    left, right = grid[at - 1], grid[np.minimum(at, len(grid) - 1)]
    return np.where(column - left <= right - column, left, right)


def _snap(parameter: Parameter, column: Array) -> Array:
    low, high = parameter.low, parameter.high
    if low == high:
        return np.full_like(column, 0.5)
    p = np.clip(column, 0.0, 1.0)
    if parameter.scale == LOG:
        whole = np.clip(np.rint(low * np.exp(p * math.log(high / low))), low, high)
        return np.asarray(np.log(whole / low) / math.log(high / low))
    if parameter.scale == REVERSE_LOG:
        whole = np.clip(np.rint(low + high - low * np.exp((1 - p) * math.log(high / low))), low, high)
        return np.asarray(1 - np.log((low + high - whole) / low) / math.log(high / low))
    return np.clip(np.rint(low + p * (high - low)), low, high) / (high - low) - low / (high - low)


def _spread(parameter: Parameter, u: Array) -> Array:
    """Positions such that each whole number gets the share of the scale around it, the ends included."""
    low, high = parameter.low, parameter.high
    if low == high:
        return np.full_like(u, 0.5)
    if parameter.scale == LOG:
        a, b = math.log(max(low - 0.5, 0.5)), math.log(high + 0.5)
        return np.asarray((a + u * (b - a) - math.log(low)) / math.log(high / low))
    if parameter.scale == REVERSE_LOG:
        # The mirror of the logarithm: the sum of both ends minus a number of the log scale.
        mirrored = np.exp(
            math.log(max(low - 0.5, 0.5)) + (1 - u) * (math.log(high + 0.5) - math.log(max(low - 0.5, 0.5)))
        )
        return np.asarray(1 - np.log(mirrored / low) / math.log(high / low))
    return np.asarray((u * (high - low + 1) - 0.5) / (high - low))
