"""TensorFlow SavedModels: a signature is chosen, instances become columns, outputs become one object an instance.

The rules are those of the old service's prediction library: the signature that the request's `signature_name` names,
else the only one, else `serving_default`; bare values where there is one input; string outputs as base64 objects when
the output's name ends in `_bytes`, else as text.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from .contract import INPUTS, LOADING, OUTPUTS, RUNNING, Failed
from .frameworks import Model
from .pickled import holds

DEFAULT = "serving_default"


class Feed:
    """The input of a prediction: a signature's name and its columns, each with one row an instance."""

    def __init__(self, signature: str, columns: dict[str, Any], rows: int) -> None:
        self.signature = signature
        self.columns = columns
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def of(self, columns: dict[str, Any], rows: int) -> Feed:
        """The same question with other values."""
        return Feed(self.signature, columns, rows)


def load(directory: str, options: Mapping[str, Any]) -> Model:
    """Raises Failed(LOADING)."""
    if not any(os.path.isfile(os.path.join(directory, "saved_model" + end)) for end in (".pb", ".pbtxt")):
        raise Failed(LOADING, f"saved_model.pb is not in the model's folder, which holds: {holds(directory)}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow
    except ImportError as error:
        raise Failed(
            LOADING,
            f"the version's environment has no TensorFlow ({error}): choose a runtimeVersion that has it"
            " (mlgate runtimes list).",
        ) from None
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    try:
        model = tensorflow.saved_model.load(directory, tags=["serve"])
    except MemoryError:
        raise Failed(LOADING, "the SavedModel does not fit in the memory limit of its process.") from None
    except Exception as error:  # noqa: BLE001 - TensorFlow raises what its version likes
        raise Failed(
            LOADING, f"the SavedModel could not be read (tags: serve) by TensorFlow {tensorflow.__version__}: {error}"
        ) from None
    if not model.signatures:
        raise Failed(
            LOADING,
            "the SavedModel has no signatures: save it with one (tf.saved_model.save(..., signatures=...), or"
            " model.export).",
        )
    return _Served(tensorflow, model).model()


class _Served:
    """A loaded SavedModel. It is kept: its functions do not keep its variables."""

    def __init__(self, tensorflow: Any, saved: Any) -> None:
        self.tensorflow = tensorflow
        self.saved = saved
        self.functions = dict(saved.signatures)
        self.inputs = {name: f.structured_input_signature[1] for name, f in self.functions.items()}

    def model(self) -> Model:
        return Model(
            "tensorflow", self.prepare, self.predict, rows=rowify, key=self.key, join=join,
            scores=self.predict, gradients=self.gradients,
        )  # fmt: skip

    def signature(self, name: Any) -> str:
        if not name and len(self.functions) == 1:
            return str(next(iter(self.functions)))
        key = str(name or DEFAULT)
        if key not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise Failed(INPUTS, f"No signature found for signature key {key}. The model has: {known}.")
        return key

    def prepare(self, instances: list[Any], fields: Mapping[str, Any]) -> Feed:
        name = self.signature(fields.get("signature_name"))
        specs = self.inputs[name]
        columns = columnarize(instances, list(specs))
        return Feed(
            name, {key: self.column(key, values, specs[key]) for key, values in columns.items()}, len(instances)
        )

    def column(self, name: str, values: list[Any], spec: Any) -> Any:
        """One input's values as an array of the type and shape that the signature has."""
        import numpy

        wanted = spec.dtype
        try:
            if wanted == self.tensorflow.string:
                array = numpy.array(_texts(values), dtype=object)
            else:
                array = _number_array(numpy.array(values), wanted.as_numpy_dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise Failed(INPUTS, f"the values of input {name} cannot be {wanted.name}: {error}") from None
        if not spec.shape.is_compatible_with(array.shape):
            raise Failed(INPUTS, f"input {name} has the shape {_shape(array.shape)}; the model takes {spec.shape}.")
        return array

    def tensors(self, feed: Feed) -> dict[str, Any]:
        specs = self.inputs[feed.signature]
        return {k: self.tensorflow.constant(v, dtype=specs[k].dtype) for k, v in feed.columns.items()}

    def predict(self, feed: Feed) -> dict[str, Any]:
        import numpy

        tensors = self.tensors(feed)
        given = {name: tensor.numpy() for name, tensor in self.functions[feed.signature](**tensors).items()}
        return {k: numpy.array(v, dtype=object) if isinstance(v, bytes) else v for k, v in given.items()}

    def gradients(self, feed: Feed, output: str, labels: Any) -> dict[str, Any]:
        """The derivatives of each row's score for its label, by floating-point input. Raises Failed(RUNNING)."""
        tensorflow = self.tensorflow
        tensors = self.tensors(feed)
        watched = {name: tensor for name, tensor in tensors.items() if tensor.dtype.is_floating}
        with tensorflow.GradientTape() as tape:
            tape.watch(list(watched.values()))
            scores = tensorflow.reshape(self.functions[feed.signature](**tensors)[output], (feed.rows, -1))
            chosen = tensorflow.reduce_sum(tensorflow.gather(scores, labels, batch_dims=1))
        found = tape.gradient(chosen, watched)
        if any(gradient is None for gradient in found.values()):
            raise Failed(RUNNING, f"the output {output} has no derivatives by {', '.join(sorted(watched))}")
        return {name: gradient.numpy() for name, gradient in found.items()}

    def key(self, feed: Feed) -> Hashable:
        """What can be predicted together: one signature, the same types and shapes, and no fixed number of rows."""
        if any(spec.shape.rank and spec.shape[0] is not None for spec in self.inputs[feed.signature].values()):
            return None
        return (feed.signature, *((k, v.dtype.str, v.shape[1:]) for k, v in sorted(feed.columns.items())))


def join(feeds: Sequence[Feed]) -> Feed:
    import numpy

    first = feeds[0]
    columns = {name: numpy.concatenate([feed.columns[name] for feed in feeds]) for name in first.columns}
    return Feed(first.signature, columns, sum(feed.rows for feed in feeds))


def columnarize(instances: list[Any], names: list[str]) -> dict[str, list[Any]]:
    """The instances by input. Raises Failed(INPUTS) for a name that the model has not, or one that is missing."""
    if len(names) == 1:
        return {names[0]: [_single(instance, names[0]) for instance in instances]}
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for instance in instances:
        if not isinstance(instance, dict):
            raise Failed(INPUTS, f"an instance must be an object with the inputs {', '.join(names)}.")
        for name, value in instance.items():
            if name not in columns:
                raise Failed(INPUTS, f"Unexpected tensor name: {name}")
            columns[name].append(value)
    for name, values in columns.items():
        if len(values) != len(instances):
            raise Failed(INPUTS, f"Input {name} was missing in at least one input instance.")
    return columns


def _single(instance: Any, name: str) -> Any:
    if not isinstance(instance, dict):
        return instance
    if list(instance) != [name]:
        raise Failed(INPUTS, f"Expected tensor name: {name}, got tensor name: {list(instance)}.")
    return instance[name]


def _texts(value: Any) -> Any:
    """Strings as bytes, as a string tensor has them."""
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{value!r} is not a string")


def _number_array(array: Any, wanted: Any) -> Any:
    """The array in the wanted type, if that keeps its values. Raises TypeError, ValueError."""
    import numpy

    kind, target = array.dtype.kind, numpy.dtype(wanted).kind
    if kind == target == "b":
        return array
    if kind not in ("iu" if target in "iu" else "iuf"):
        raise TypeError(
            "they are " + {"b": "booleans", "U": "strings", "f": "not whole", "S": "bytes"}.get(kind, "mixed")
        )
    if target in "iu" and array.size:
        limits = numpy.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise OverflowError("they are too large")
    return array.astype(wanted)


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"


def rowify(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """One object an instance, from columns. Raises Failed(OUTPUTS) when they are not of one length."""
    columns = {name: array if array.shape else array.reshape(1) for name, array in columns.items()}
    sizes = {name: len(array) for name, array in columns.items()}
    if len(set(sizes.values())) != 1:
        raise Failed(OUTPUTS, f"the outputs have differing sizes in the batch (outer) dimension: {sizes}")
    lists = {name: _plain(name, array) for name, array in columns.items()}
    return [{name: rows[i] for name, rows in lists.items()} for i in range(min(sizes.values()))]


def _plain(name: str, array: Any) -> Any:
    values = array.tolist()
    return _written(values, name.endswith("_bytes")) if array.dtype.kind in "OSU" else values


def _written(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_written(item, as_base64) for item in value]
    if not isinstance(value, bytes):
        return value
    if as_base64:
        return {"b64": base64.b64encode(value).decode("ascii")}
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Failed(
            OUTPUTS, "an output holds bytes that are no text: give its name the ending _bytes, for base64"
        ) from None
