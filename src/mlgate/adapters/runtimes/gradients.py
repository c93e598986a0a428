"""Integrated gradients: the derivatives of a score, summed up along the straight line from the baseline to the instance
(Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, 2017).

The integral is taken at the middles of equal steps. What the sum misses of example score - baseline score is told as
the error, as a part of that difference: more steps make it smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from .contract import INPUTS, Failed
from .pace import Pace
from .shapley import CHUNK, Attribution

#: Of one request; a derivative costs a few scores.
MOST_DERIVATIVES = 100_000


def attribute(
    scores: Callable[[Mapping[str, Any], Any], Any],
    derive: Callable[[Mapping[str, Any], Any], Mapping[str, Any]],
    inputs: Mapping[str, Any],
    baseline: Mapping[str, Any],
    labels: Any,
    steps: int,
    pace: Pace,
) -> Generator[None, None, Attribution]:
    """`derive(values, rows)` gives the derivatives of what `scores` gives, by input. Yields after each call of it.
    Raises Failed(INPUTS) when it would have to be asked for too much."""
    import numpy

    instances = len(labels)
    if instances * steps > MOST_DERIVATIVES:
        raise Failed(
            INPUTS,
            f"{instances} instances along {steps} steps need more than the {MOST_DERIVATIVES} derivatives that a"
            " request may ask for: send fewer instances, or configure a smaller numIntegralSteps",
        )
    way = {name: values - baseline[name] for name, values in inputs.items()}
    values = {name: numpy.zeros(given.shape) for name, given in inputs.items()}
    most = CHUNK // 8 // max(1, sum(int(given[0].size) for given in inputs.values()))
    for start, end in pace.pieces(instances * steps, most):
        numbers = numpy.arange(start, end)
        rows, at = numbers // steps, (numbers % steps + 0.5) / steps
        points = {
            name: (baseline[name] + at.reshape(-1, *[1] * (way[name].ndim - 1)) * way[name][rows]).astype(given.dtype)
            for name, given in inputs.items()
        }
        with pace.timed(end - start):
            derivatives = derive(points, rows)
        for name, found in derivatives.items():
            if name in values:
                numpy.add.at(values[name], rows, found * way[name][rows] / steps)
        yield
    everyone = numpy.arange(instances)
    start_scores = scores({name: _repeated(baseline[name], given) for name, given in inputs.items()}, everyone)
    yield
    gained = scores(inputs, everyone) - start_scores
    told = sum(one.reshape(instances, -1).sum(axis=1) for one in values.values())
    missed = numpy.abs(told - gained)
    return Attribution(values, start_scores, missed / numpy.where(gained == 0, 1.0, numpy.abs(gained)))


def _repeated(baseline: Any, like: Any) -> Any:
    import numpy

    return numpy.broadcast_to(baseline, like.shape).astype(like.dtype)
