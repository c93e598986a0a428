"""Explanations: how much each feature of an instance counts for its score (feature attributions).

    {"instances": [...]} -> {"explanations": [{"attributions_by_label": [{
        "attributions": {INPUT: [NUMBER, ...]}, "baseline_score", "example_score", "approx_error",
        "label_index", "output_name"}]}, ...]}

The form, and the meaning of `explanation_metadata.json` beside the model's files, are the old service's
(cloud.google.com/ai-platform/prediction/docs/ai-explanations). What is explained is the score of the label that the
model gives the instance: a probability where there are probabilities, else the predicted number. An attribution is
measured from a baseline, which is 0 for every feature unless the metadata names others; with several baselines it is
their mean. Attributions add up to `example_score` - `baseline_score`: exactly for sampled Shapley, nearly for
integrated gradients.

The methods are in files of their own: shapley.py asks the model for scores alone, gradients.py for derivatives too.

An explanation asks its model for very much, and the process has one thread. So it is computed in steps, and what has
come meanwhile is predicted between them (serve.py).
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from . import gradients, shapley
from .contract import INPUTS, LOADING, RUNNING, Failed, read_request, write_failure, write_predictions
from .frameworks import Model
from .pace import Pace, finished

METADATA = "explanation_metadata.json"
LARGEST_METADATA = 1 << 20
SHAPLEY, GRADIENTS = "sampledShapleyAttribution", "integratedGradientsAttribution"
#: How much of the time that a request may take is had; the rest is for the answer's way back.
SHARE = 0.9
#: The names that attributions carry where neither the model nor the metadata has one.
INPUT, OUTPUT = "features", "score"


class Input(NamedTuple):
    """What the metadata says of an input: the name that its attributions carry, the tensor that it is, its baselines,
    and the names of its features, where they have names."""

    name: str
    tensor: str
    baselines: list[Any]
    features: list[str]


class Metadata(NamedTuple):
    """The inputs to explain (none: all that hold numbers), and the output: its tensor, and the name to show for it."""

    inputs: list[Input]
    output: str
    output_name: str


class Explanations:
    """Those that are asked for, one after the other, a step at a time."""

    def __init__(
        self, model: Model, options: Mapping[str, Any], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`options` as for `answer`; `seconds` is how long a request may take."""
        self._model = model
        self._options = options
        self._seconds = seconds
        self._clock = clock
        self._pace = Pace()
        self._line: deque[tuple[Any, Generator[None, None, tuple[int, bytes]], float]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def add(self, asked: Any, body: bytes) -> None:
        """Put a request into the line; `asked` is what its answer is given back with."""
        steps = _answering(self._model, self._options, body, self._pace)
        self._line.append((asked, steps, self._clock() + SHARE * self._seconds))

    def step(self) -> tuple[Any, tuple[int, bytes]] | None:
        """Go on with the first. What was asked, with status and body, when that ends it; also when its time is over."""
        asked, steps, until = self._line[0]
        try:
            if self._clock() < until:
                next(steps)
                return None
            found = 400, write_failure(Failed(RUNNING, self._late()))
        except StopIteration as end:
            found = end.value
        self._line.popleft()
        steps.close()
        return asked, found

    def _late(self) -> str:
        return (
            f"the explanation is not done within the {self._seconds:g} seconds that a request may take: send fewer"
            " instances, or configure fewer paths or steps"
        )


def answer(model: Model, options: Mapping[str, Any], body: bytes) -> tuple[int, bytes]:
    """Status and body, as a prediction has them: 200, or 400 with the reason in `error`. Raises nothing.

    options["explanation"] is the version's explanationConfig in wire form.
    """
    return finished(_answering(model, options, body, Pace()))


def _answering(
    model: Model, options: Mapping[str, Any], body: bytes, pace: Pace
) -> Generator[None, None, tuple[int, bytes]]:
    try:
        explained = yield from _explained(model, options["explanation"], body, pace)
        return 200, write_predictions(explained, "explanations")
    except Failed as failure:
        return 400, write_failure(failure)
    except MemoryError:
        return 400, write_failure(Failed(RUNNING, "the model ran out of memory"))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a model may raise anything at all
        return 400, write_failure(Failed(RUNNING, f"Exception during {model.label} explanation: {error}{model.hint}"))


def check(model: Model, config: Mapping[str, Any]) -> None:
    """Whether a model that was loaded can be explained as it is configured. Raises Failed(LOADING)."""
    if model.scores is None:
        raise Failed(LOADING, f"explanationConfig: a {model.label} model has no scores that could be explained.")
    if GRADIENTS in config and model.gradients is None:
        raise Failed(
            LOADING,
            f"explanationConfig: {GRADIENTS} is for TensorFlow models; use {SHAPLEY}, which is for every framework.",
        )
    read_metadata(model.directory)


# ------------------------------------------------------------------------------------------------------- explanation


def _explained(model: Model, config: Mapping[str, Any], body: bytes, pace: Pace) -> Generator[None, None, list[Any]]:
    metadata = read_metadata(model.directory)
    request = read_request(body)
    try:
        given = model.prepare(*request)
    except (TypeError, ValueError) as error:
        raise Failed(INPUTS, f"the instances do not form an array: {error}") from None
    tensors = dict(getattr(given, "columns", None) or {INPUT: _with_gaps(given)})
    shown = _inputs(metadata, tensors, floats=GRADIENTS in config)
    asked = _Asked(model, given, tensors, metadata.output)
    yield from asked.begin(pace)
    inputs = {one.tensor: tensors[one.tensor] for one in shown}
    parts = []
    for number in range(max(len(one.baselines) for one in shown)):
        baseline = {one.tensor: _baseline(one, number, inputs[one.tensor].shape[1:]) for one in shown}
        if GRADIENTS in config:
            steps = int(config[GRADIENTS]["numIntegralSteps"])
            ways = asked.scores, asked.gradients
            part = yield from gradients.attribute(*ways, inputs, baseline, asked.labels, steps, pace)
        else:
            paths = int(config[SHAPLEY]["numPaths"])
            part = yield from shapley.attribute(asked.scores, inputs, baseline, asked.labels, paths, pace)
        parts.append(part)
    name = metadata.output_name or asked.output or OUTPUT
    return [_explanation(asked, parts, shown, row, name) for row in range(len(given))]


class _Asked:
    """The model, asked for the scores of the instances of one request, and of what is made of them."""

    labels: Any
    examples: Any

    def __init__(self, model: Model, given: Any, tensors: dict[str, Any], output: str) -> None:
        self.model = model
        self.given = given
        self.output = output
        self.tensors = tensors

    def begin(self, pace: Pace) -> Generator[None, None, None]:
        """Ask for the instances themselves: their labels, and the scores of these. Raises Failed."""
        import numpy

        tables = []
        for start, end in pace.pieces(len(self.given), shapley.CHUNK):
            with pace.timed(end - start):
                tables.append(self._table({}, numpy.arange(start, end)))
            yield
        everything = numpy.concatenate(tables)
        self.labels = everything.argmax(axis=1)
        self.examples = everything[numpy.arange(len(everything)), self.labels]

    def scores(self, changed: Mapping[str, Any], rows: Any) -> Any:
        """The score of each of `rows` with these values, for the label that its instance has."""
        return self._table(changed, rows)[range(len(rows)), self.labels[rows]]

    def gradients(self, changed: Mapping[str, Any], rows: Any) -> dict[str, Any]:
        """The same score's derivatives by the values, by tensor."""
        assert self.model.gradients is not None
        found = self.model.gradients(self._feed(changed, rows), self.output, self.labels[rows])
        return dict(found)

    def _feed(self, changed: Mapping[str, Any], rows: Any) -> Any:
        """The model's input: instances by number, with other values where they are given."""
        columns = {name: changed[name] if name in changed else values[rows] for name, values in self.tensors.items()}
        return self.given.of(columns, len(rows)) if hasattr(self.given, "of") else columns[INPUT]

    def _table(self, changed: Mapping[str, Any], rows: Any) -> Any:
        """The scores, one row for each instance and one column for each label."""
        import numpy

        if self.model.scores is None:
            raise Failed(RUNNING, f"a {self.model.label} model has no scores that could be explained")
        found = self.model.scores(self._feed(changed, rows))
        if isinstance(found, dict):
            found = found[self._output(found)]
        table = numpy.asarray(found)
        if table.dtype.kind not in "biuf" or table.shape[:1] != (len(rows),):
            raise Failed(
                RUNNING, "the model does not give numbers, one row an instance, so there is nothing to explain"
            )
        return table.reshape(len(rows), -1).astype(numpy.float64)

    def _output(self, found: Mapping[str, Any]) -> str:
        if self.output not in found:
            if len(found) > 1:
                known = ", ".join(sorted(found))
                raise Failed(RUNNING, f"the model has the outputs {known}: name one of them in outputs of {METADATA}")
            self.output = next(iter(found))
        return self.output


def _with_gaps(values: Any) -> Any:
    """Numbers among which some are missing (null) as numbers; anything else as it is."""
    if values.dtype.kind == "O" and all(value is None or isinstance(value, (int, float)) for value in values.flat):
        return values.astype(float)
    return values


def _inputs(metadata: Metadata, tensors: Mapping[str, Any], floats: bool) -> list[Input]:
    """What is explained of the tensors of a request. Raises Failed(INPUTS)."""
    kinds = "f" if floats else "biuf"
    wanted = metadata.inputs or [Input(n, n, [0], []) for n, v in tensors.items() if v.dtype.kind in kinds]
    if len(wanted) == len(tensors) == 1:
        wanted = [wanted[0]._replace(tensor=next(iter(tensors)))]
    for one in wanted:
        if one.tensor not in tensors:
            raise Failed(INPUTS, f"{METADATA} names the input {one.tensor}; the model has {', '.join(sorted(tensors))}")
        values = tensors[one.tensor]
        if values.dtype.kind not in kinds or (INPUT in tensors and values.ndim < 2):
            raise Failed(INPUTS, "only instances that are lists of numbers can be explained")
        if one.features and len(one.features) != values[0].size:
            raise Failed(
                INPUTS, f"{METADATA} names {len(one.features)} features of {one.name}; it has {values[0].size}"
            )
    if not wanted:
        raise Failed(INPUTS, "only numbers can be explained, and no input of the model holds any")
    return wanted


def _baseline(one: Input, number: int, shape: tuple[int, ...]) -> Any:
    """The baseline with this number, in the shape of one instance; an input with fewer repeats them."""
    import numpy

    given = one.baselines[number % len(one.baselines)]
    try:
        array = numpy.array(given)
        if array.dtype.kind not in "biuf":
            raise ValueError(given)
        return numpy.broadcast_to(array, shape)
    except ValueError:
        raise Failed(
            INPUTS, f"a baseline of {one.name} in {METADATA} is neither a number nor of the shape {list(shape)}"
        ) from None


def _explanation(asked: _Asked, parts: list[Any], shown: list[Input], row: int, name: str) -> dict[str, Any]:
    attributions: dict[str, Any] = {}
    for one in shown:
        values = sum(part.values[one.tensor][row] for part in parts) / len(parts)
        if one.features:
            attributions.update({name: float(values.flat[place]) for place, name in enumerate(one.features)})
        else:
            attributions[one.name] = values.tolist()
    label = {
        "attributions": attributions,
        "baseline_score": float(sum(part.baselines[row] for part in parts) / len(parts)),
        "example_score": float(asked.examples[row]),
        "label_index": int(asked.labels[row]),
        "output_name": name,
    }
    if all(part.errors is not None for part in parts):
        label["approx_error"] = float(max(part.errors[row] for part in parts))
    return {"attributions_by_label": [label]}


# --------------------------------------------------------------------------------------------------------- metadata


@lru_cache(maxsize=1)
def read_metadata(directory: str) -> Metadata:
    """What explanation_metadata.json says, if it is there; read once, when the model is loaded. Raises
    Failed(LOADING)."""
    path = os.path.join(directory, METADATA)
    if not directory or not os.path.isfile(path):
        return Metadata([], "", "")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_METADATA + 1)
        if len(data) > LARGEST_METADATA:
            raise ValueError(f"it is larger than {LARGEST_METADATA} bytes")
        return _metadata(json.loads(data.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise Failed(LOADING, f"{METADATA} cannot be used: {error}.") from None


def _metadata(value: Any) -> Metadata:
    if not isinstance(value, dict):
        raise ValueError('it must be a JSON object such as {"inputs": {...}, "outputs": {...}}')
    inputs = [_input(name, given) for name, given in _entries(value, "inputs").items()]
    outputs = _entries(value, "outputs")
    if len(outputs) > 1:
        raise ValueError(f"outputs names {', '.join(sorted(outputs))}; one output can be explained")
    for name, given in outputs.items():
        return Metadata(inputs, _tensor(given.get("output_tensor_name"), name), name)
    return Metadata(inputs, "", "")


def _entries(value: dict[str, Any], key: str) -> dict[str, Any]:
    entries = value.get(key, {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{key} must be an object that holds an object for each name")
    return entries


def _input(name: str, given: dict[str, Any]) -> Input:
    baselines, features = given.get("input_baselines", [0]), given.get("index_feature_mapping") or []
    if not isinstance(baselines, list) or not baselines:
        raise ValueError(f"input_baselines of {name} must be a list of baselines, such as [0]")
    if not isinstance(features, list) or not all(isinstance(feature, str) for feature in features):
        raise ValueError(f"index_feature_mapping of {name} must be a list of names")
    if len(set(features)) != len(features):
        raise ValueError(f"index_feature_mapping of {name} holds a name twice")
    return Input(name, _tensor(given.get("input_tensor_name"), name), baselines, features)


def _tensor(value: Any, name: str) -> str:
    """A tensor's name, without the number that graphs put behind it ("x:0"); the entry's own where it is not given."""
    return str(value).partition(":")[0] if value else name
