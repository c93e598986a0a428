"""Sampled Shapley values: what each feature adds to a score, on average over the orders in which features may come.

    phi(i) = mean over orders of  v(features before i, and i) - v(features before i)

v(S) is the score of the instance with the features of S, and the baseline elsewhere. Each order telescopes, so the
values add up to v(all) - v(none) however few orders are taken. Orders come in pairs, one the reverse of the other: for
scores in which features act alone or two by two that is exact already. Where all coalitions are fewer than those that
the orders would visit, all are asked and the values are the exact ones (Shapley, A Value for n-Person Games, 1953).

The orders depend on the number of features alone: the same request has the same answer, in whatever company (up to the
last digits of a model that rounds otherwise for another number of rows).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from math import factorial, sqrt
from typing import Any, NamedTuple

from .contract import INPUTS, Failed
from .pace import Pace

#: Of one request.
MOST_SCORES = 200_000
#: How many numbers a call of the model may be given.
CHUNK = 2_000_000


class Attribution(NamedTuple):
    """Of the instances of a request: attributions by input, the scores of their baselines, and how far the former may
    be off, as a part of their size (None: not known)."""

    values: dict[str, Any]
    baselines: Any
    errors: Any


class _Plan(NamedTuple):
    """The coalitions to ask for, by number: `size` of them, 0 without any feature. `members(numbers)` gives a row of
    features for each; `values(worth)` makes attributions and errors of their scores, a row for each instance."""

    size: int
    members: Callable[[Any], Any]
    values: Callable[[Any], tuple[Any, Any]]


def attribute(
    scores: Callable[[Mapping[str, Any], Any], Any],
    inputs: Mapping[str, Any],
    baseline: Mapping[str, Any],
    labels: Any,
    paths: int,
    pace: Pace,
) -> Generator[None, None, Attribution]:
    """`scores(values, rows)` gives the score of the instances with the numbers `rows`. Yields after each call of it.
    Raises Failed(INPUTS) when it would have to be asked for too much."""
    import numpy

    sizes = {name: int(values[0].size) for name, values in inputs.items()}
    features, instances = sum(sizes.values()), len(labels)
    plan = _plan(features, paths)
    if instances * plan.size > MOST_SCORES:
        raise Failed(
            INPUTS,
            f"{instances} instances of {features} features along {paths} paths need more than the {MOST_SCORES} scores"
            " that a request may ask for: send fewer instances, or configure a smaller numPaths",
        )
    worth = numpy.empty((instances, plan.size))
    flat = worth.reshape(-1)
    for start, end in pace.pieces(flat.size, CHUNK // max(features, 1)):
        rows, numbers = numpy.divmod(numpy.arange(start, end), plan.size)
        with pace.timed(end - start):
            flat[start:end] = scores(_mixed(inputs, baseline, sizes, rows, plan.members(numbers)), rows)
        yield
    values, errors = plan.values(worth)
    shaped, start = {}, 0
    for name, given in inputs.items():
        shaped[name] = values[:, start : start + sizes[name]].reshape(given.shape)
        start += sizes[name]
    return Attribution(shaped, worth[:, 0], errors)


def _mixed(
    inputs: Mapping[str, Any], baseline: Mapping[str, Any], sizes: Mapping[str, int], rows: Any, coalitions: Any
) -> dict[str, Any]:
    """The values of instances for the features in their coalitions, the baseline's elsewhere."""
    import numpy

    mixed, start = {}, 0
    for name, values in inputs.items():
        chosen = coalitions[:, start : start + sizes[name]].reshape(len(rows), *values.shape[1:])
        mixed[name] = numpy.where(chosen, values[rows], baseline[name])
        start += sizes[name]
    return mixed


def _plan(features: int, paths: int) -> _Plan:
    visited = paths * (features - 1) + 2
    return _exact(features) if features < 20 and 2**features <= visited else _sampled(features, paths)


def _exact(features: int) -> _Plan:
    """All coalitions: bit i of a coalition's number is feature i."""
    import numpy

    def members(numbers: Any) -> Any:
        return (numbers[:, None] >> numpy.arange(features)) & 1 == 1

    def values(worth: Any) -> tuple[Any, Any]:
        everything = members(numpy.arange(2**features))
        sizes = everything.sum(axis=1)
        ways = [factorial(s) * factorial(features - s - 1) / factorial(features) for s in range(features)]
        joining = numpy.array([0.0, *ways])[sizes]  # of a member: it came last
        leaving = numpy.array([*ways, 0.0])[sizes]  # of another: it comes next
        weights = numpy.where(everything, joining[:, None], -leaving[:, None])
        return worth @ weights, numpy.zeros(len(worth))

    return _Plan(2**features, members, values)


def _sampled(features: int, paths: int) -> _Plan:
    """Coalition 1 is everything; the others are what each order has come to after each of its steps but the last."""
    import numpy

    random, between = numpy.random.RandomState(0), features - 1
    orders = numpy.empty((paths, features), dtype=numpy.int64)
    for path in range(paths):
        orders[path] = orders[path - 1][::-1] if path % 2 else random.permutation(features)
    places = numpy.argsort(orders, axis=1)

    def members(numbers: Any) -> Any:
        path, step = numpy.divmod(numpy.maximum(numbers - 2, 0), max(between, 1))
        came = numpy.where(numbers < 2, numbers * features, step + 1)
        return places[path] < came[:, None]

    def values(worth: Any) -> tuple[Any, Any]:
        found, errors = numpy.zeros((len(worth), features)), numpy.zeros(len(worth))
        pairs = paths // 2
        for row, known in enumerate(worth):
            along = numpy.empty((paths, features + 1))
            along[:, 0], along[:, -1] = known[0], known[1]
            along[:, 1:-1] = known[2:].reshape(paths, between)
            added = numpy.empty((paths, features))
            numpy.put_along_axis(added, orders, numpy.diff(along, axis=1), axis=1)
            found[row] = added.mean(axis=0)
            if pairs > 1:  # each pair is one independent sample
                sampled = added[: 2 * pairs].reshape(pairs, 2, features).mean(axis=1)
                off = sqrt((sampled.var(axis=0, ddof=1) / pairs).sum())
                size = sqrt((found[row] ** 2).sum())
                errors[row] = off / size if size else off
        return found, errors if pairs > 1 else None

    return _Plan(paths * between + 2, members, values)
