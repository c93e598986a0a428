"""Answers for many requests at once, each what the request would have got alone.

    # INVARIANT: answer i belongs to body i, and no request changes the status or the text of another.

Requests are predicted together only when their inputs have one key: for arrays, one type and one row shape. Joining
the instances before making the array would be quicker, and wrong: a neighbour's string turns every number into text,
and a neighbour's float rounds large integers. When a joined prediction fails, or gives another number of rows than it
was given, each of its requests is repeated alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contract import INPUTS, OUTPUTS, RUNNING, Failed, Request, read_request, write_failure, write_predictions
from .frameworks import Model


def answer(model: Model, bodies: Sequence[bytes], together: bool = True) -> list[tuple[int, bytes]]:
    answers: list[tuple[int, bytes]] = [(500, b"")] * len(bodies)
    groups: dict[Any, list[tuple[int, Any]]] = {}
    for i, body in enumerate(bodies):
        try:
            inputs = prepared(model, read_request(body))
        except Failed as failure:
            answers[i] = (400, write_failure(failure))
            continue
        key = model.key(inputs) if together else None
        groups.setdefault(i if key is None else key, []).append((i, inputs))
    for group in groups.values():
        results = _joined(model, [inputs for _, inputs in group]) if len(group) > 1 else None
        for place, (i, inputs) in enumerate(group):
            answers[i] = (200, results[place]) if results is not None else _alone(model, inputs)
    return answers


def prepared(model: Model, request: Request) -> Any:
    try:
        return model.prepare(*request)
    except Failed:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a caller's values may do anything
        raise Failed(INPUTS, f"the instances do not form an array: {error}") from None


def _joined(model: Model, inputs: list[Any]) -> list[bytes] | None:
    """The bodies of a joined prediction, or None when it has to be done one by one."""
    try:
        predictions = model.rows(model.predict(model.join(inputs)))
        counts = [len(one) for one in inputs]
        if len(predictions) != sum(counts):
            return None
        bodies, start = [], 0
        for count in counts:
            bodies.append(write_predictions(predictions[start : start + count]))
            start += count
        return bodies
    except (Exception, SystemExit):  # noqa: BLE001 - alone, the one to blame will say so itself
        return None


def _alone(model: Model, inputs: Any) -> tuple[int, bytes]:
    try:
        return 200, write_predictions(predicted(model, inputs))
    except Failed as failure:
        return 400, write_failure(failure)


def predicted(model: Model, inputs: Any) -> Any:
    try:
        output = model.predict(inputs)
    except Failed:
        raise
    except MemoryError:
        raise Failed(RUNNING, "the model ran out of memory") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a model may raise anything at all
        raise Failed(RUNNING, f"Exception during {model.label} prediction: {error}{model.hint}") from None
    try:
        return model.rows(output)
    except Failed:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - and so may what it returns
        raise Failed(OUTPUTS, f"the model gave no list of predictions: {error}") from None
