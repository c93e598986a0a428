"""A faster copy of a model: ONNX, for requests of few instances.

A prediction of one row costs scikit-learn and XGBoost mostly preparation: for the same trees or weights, ONNX Runtime
takes a tenth to a hundredth of the time. With many rows the original is faster. So a copy answers up to as many rows as
it is faster for, which is measured when it is made (`make`), and the original answers the rest (`use`).

    # INVARIANT: a copy is kept only if it agrees with the original on every row of a sample: labels equal, numbers
    # within TOLERANCE (of their size where the original itself computes in single precision). The sample is drawn
    # around what the model decides by, since nobody has its data here.

The copy computes in single precision. A row with a number that this cannot hold (an integer above 2**24, a number out
of range) is answered by the original; so is everything that is not a plain table of numbers, and a row whose two best
labels are so close (DOUBT) that rounding could choose between them: a forest's votes are often a tie. A model that
compares in double precision answers a row with a number that rounding could put on the other side of a threshold.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .contract import Failed
from .frameworks import Model

FILE, DESCRIPTION = "model.onnx", "copy.json"
TOLERANCE = 1e-5
DOUBT = 1e-4
SAMPLE = 1024
TURNS = 9
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: A copy has to be so much faster for one row to be worth its memory.
WORTH = 1.5
EXACT_INTEGERS = float(1 << 24)
LARGEST = 3e38


class Unable(Exception):
    """Why there is no copy, as a person is told."""


def make(model: Model, write: Callable[[bytes], Any]) -> dict[str, Any]:
    """Try to make a copy and give its bytes to `write`. Returns its description: format, maxRows (up to which it
    answers), speedup (for one row), and how its outputs are read. Raises Unable."""
    import numpy

    if model.source is None:
        raise Unable("this kind of model has no copy.")
    features = _features(model.source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that parts of the converters are old is nothing for the version's log
            content = _convert(model.source, features)
        session = _session(content)
    except ImportError as error:
        raise Unable(_not_imported(error)) from None
    except Exception as error:  # noqa: BLE001 - a converter fails in many ways on what it does not know
        raise Unable(f"the model cannot be converted: {_short(error)}") from None
    sample = _sample(model.source, features)
    try:
        wanted = model.predict(sample)
    except Exception as error:  # noqa: BLE001 - so does a model on rows that it was not made for
        raise Unable(f"the model fails on the sample rows: {_short(error)}") from None
    sure = ~_at_borders(_borders(model.source), sample)
    copy = {**_agreeing(session, sample[sure], numpy.asarray(wanted)[sure]), "features": features}
    whole = _reading(session, {**copy, "block": SAMPLE})
    times = {rows: _seconds(whole, sample, rows) / rows for rows in SIZES}
    copy["block"] = min(times, key=lambda rows: times[rows])
    quick = _reading(session, copy)
    ratios = {rows: _seconds(model.predict, sample, rows) / _seconds(quick, sample, rows) for rows in SIZES}
    if ratios[1] < WORTH:
        raise Unable(f"it would be only {ratios[1]:.1f} times as fast.")
    most = 1
    for rows in SIZES:
        if ratios[rows] <= 1:
            break
        most = rows
    write(content)
    return {"format": "ONNX", "maxRows": most, "speedup": round(ratios[1], 1), **copy}


def use(model: Model, directory: str) -> Model:
    """The model, with its copy for requests of few rows."""
    import numpy

    with open(os.path.join(directory, DESCRIPTION), encoding="utf-8") as file:
        copy: dict[str, Any] = json.load(file)
    with open(os.path.join(directory, FILE), "rb") as content:
        session = _session(content.read())
    quick, original = _reading(session, copy), model.predict
    most, features, borders = copy["maxRows"], copy["features"], _borders(model.source)

    def predict(inputs: Any) -> Any:
        if (
            isinstance(inputs, numpy.ndarray)
            and inputs.ndim == 2
            and inputs.shape[1] == features
            and len(inputs) <= most
            and inputs.dtype.kind in "iuf"
            and abs(inputs).max(initial=0) <= (LARGEST if inputs.dtype.kind == "f" else EXACT_INTEGERS)
            and (borders is None or not _at_borders(borders, inputs).any())
        ):
            found = quick(inputs)
            if found is not None:
                return found
        return original(inputs)

    predict(numpy.zeros((1, features)))
    return model._replace(predict=predict)


# ------------------------------------------------------------------------------------------------------- conversion


def _features(source: Any) -> int:
    count = getattr(source, "n_features_in_", None)
    if count is None and hasattr(source, "num_features"):
        count = source.num_features()
    if not isinstance(count, int):
        raise Unable("the model does not say how many features it takes.")
    if getattr(source, "feature_names_in_", None) is not None and _selects_columns(source):
        raise Unable("the model chooses its columns by name.")
    if any(hasattr(part, "_predictors") for part in _parts(source) if part is not source):
        raise Unable("a part of the model compares in double precision what other parts compute.")
    return count


def _selects_columns(source: Any) -> bool:
    steps = [step for _, step in getattr(source, "steps", [])] or [source]
    return any(type(step).__name__ == "ColumnTransformer" for step in steps)


def _parts(value: Any) -> Iterator[Any]:
    """A model and the models that it is made of."""
    is_array_of_objects = getattr(getattr(value, "dtype", None), "kind", "") == "O" and value.ndim
    if isinstance(value, (list, tuple)) or is_array_of_objects:
        for one in value:
            yield from _parts(one)
    elif "sklearn" in type(value).__module__ and hasattr(value, "__dict__"):
        yield value
        for one in vars(value).values():
            yield from _parts(one)


def _not_imported(error: ImportError) -> str:
    """What is not there, or, of a library that is there, what breaks it."""
    name = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name and importlib.util.find_spec(name) is None:
        return f"the version's environment has no {name}."
    return f"a library of the version's environment cannot be imported: {_short(error)}"


def _convert(source: Any, features: int) -> bytes:
    if "xgboost" in type(source).__module__:
        import onnxmltools  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from onnxmltools.convert.common.data_types import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
            FloatTensorType,
        )

        made = onnxmltools.convert_xgboost(source, initial_types=[("x", FloatTensorType([None, features]))])
    else:
        from skl2onnx import to_onnx  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from skl2onnx.common.data_types import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
            FloatTensorType,
        )

        options = {"zipmap": False} if hasattr(source, "classes_") else None
        made = to_onnx(source, initial_types=[("x", FloatTensorType([None, features]))], options=options)
    return bytes(made.SerializeToString())


def _session(content: bytes) -> Any:
    import onnxruntime  # type: ignore[import-untyped,import-not-found,unused-ignore]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


# --------------------------------------------------------------------------------------------------------- agreement


def _sample(source: Any, features: int) -> Any:
    """Rows around what the model decides by: the thresholds of its trees, hit exactly and just missed, and numbers of
    several sizes around the centres that it subtracts."""
    import numpy

    random = numpy.random.default_rng(20)
    centres, scales = _centres(source, features)
    sizes = random.choice([0.1, 1.0, 3.0, 30.0], size=(SAMPLE, 1))
    rows = centres + scales * sizes * random.standard_normal((SAMPLE, features))
    for feature, thresholds in _thresholds(source).items():
        near = random.choice(thresholds, SAMPLE) * (1 + random.choice([0.0, 0.0, 1e-3, -1e-3], SAMPLE))
        chosen = random.random(SAMPLE) < 0.7
        rows[chosen, feature] = near[chosen]
    rows[: SAMPLE // 8] = numpy.round(rows[: SAMPLE // 8])
    rows[0] = 0
    return numpy.clip(rows, -1e30, 1e30)


def _centres(source: Any, features: int) -> tuple[Any, Any]:
    import numpy

    for _, step in getattr(source, "steps", []):
        mean, scale = getattr(step, "mean_", None), getattr(step, "scale_", None)
        if mean is not None and scale is not None and len(mean) == len(scale) == features:
            return numpy.asarray(mean), numpy.asarray(scale)
    return numpy.zeros(features), numpy.ones(features)


def _thresholds(source: Any) -> Mapping[int, Any]:
    """What each feature is compared with, as far as the model has trees."""
    import numpy

    found: dict[int, list[float]] = {}
    for feature, threshold in _splits(source):
        found.setdefault(feature, []).append(threshold)
    return {feature: numpy.unique(values) for feature, values in found.items()}


def _splits(source: Any) -> Iterator[tuple[int, float]]:
    if hasattr(source, "get_dump"):
        for tree in source.get_dump(dump_format="json"):
            yield from _xgboost_splits(json.loads(tree))
        return
    for tree in _histogram_trees(source):
        for node in tree.nodes:
            if not node["is_leaf"]:
                yield int(node["feature_idx"]), float(node["num_threshold"])
    last = source.steps[-1][1] if getattr(source, "steps", None) else source
    for estimator in _trees(last):
        for feature, threshold in zip(estimator.tree_.feature, estimator.tree_.threshold):  # noqa: B905 - Python 3.8
            if feature >= 0:
                yield int(feature), float(threshold)


def _trees(estimator: Any) -> Iterator[Any]:
    parts = getattr(estimator, "estimators_", None)
    if hasattr(estimator, "tree_"):
        yield estimator
    elif parts is not None:
        for part in getattr(parts, "ravel", lambda: parts)():
            yield from _trees(part)


def _histogram_trees(source: Any) -> Iterator[Any]:
    for trees in getattr(source, "_predictors", ()):
        yield from trees


def _borders(source: Any) -> Any:
    """The thresholds, in their order, of a model that compares in double precision; None of another: forests, trees and
    XGBoost compare single numbers."""
    import numpy

    if not hasattr(source, "_predictors"):
        return None
    return numpy.unique([-numpy.inf, *(threshold for _, threshold in _splits(source))])


def _at_borders(borders: Any, rows: Any) -> Any:
    """Which rows hold a number that is above a threshold, and in single precision at it."""
    import numpy

    if borders is None:
        return numpy.zeros(len(rows), dtype=bool)
    below = borders.take(numpy.maximum(borders.searchsorted(rows), 1) - 1)
    return (below.astype(numpy.float32) == rows.astype(numpy.float32)).any(axis=1)


def _xgboost_splits(node: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    if "split_condition" in node and str(node["split"]).lstrip("f").isdigit():
        yield int(str(node["split"]).lstrip("f")), float(node["split_condition"])
    for child in node.get("children", ()):
        yield from _xgboost_splits(child)


def _second(value: Any) -> Any:
    return value[:, 1]


def _flat(value: Any) -> Any:
    return value.reshape(-1)


#: How an output of the copy is read as the original's.
WAYS: dict[str, Callable[[Any], Any]] = {"as it is": lambda value: value, "second column": _second, "flat": _flat}


def _reading(session: Any, copy: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A prediction by the copy: the original's answer, or None for rows that it is not sure of. Rows are given to it
    in blocks of the size that it is fastest with."""
    import numpy

    name, view, session_run, block = session.get_inputs()[0].name, WAYS[copy["way"]], session.run, copy["block"]

    def run(outputs: list[str], rows: Any) -> Any:
        rows = rows.astype(numpy.float32)
        if len(rows) <= block:
            return session_run(outputs, {name: rows})
        parts = [session_run(outputs, {name: rows[i : i + block]}) for i in range(0, len(rows), block)]
        return [numpy.concatenate(column) for column in zip(*parts)]  # noqa: B905 - Python 3.8

    if not copy.get("scores"):
        outputs = [copy["output"]]
        return lambda rows: view(run(outputs, rows)[0])
    both = [copy["output"], copy["scores"]]

    def labels(rows: Any) -> Any:
        found, scores = run(both, rows)
        return None if _margins(scores).min(initial=1.0) < DOUBT else view(found)

    return labels


def _margins(scores: Any) -> Any:
    """How far each row's best label is ahead of its second."""
    if scores.shape[1] == 2:
        return abs(scores[:, 0] - scores[:, 1])
    scores.sort(axis=1)
    return scores[:, -1] - scores[:, -2]


def _agreeing(session: Any, sample: Any, wanted: Any) -> dict[str, Any]:
    """The output of the copy, and the way to read it, that gives what the original gives; for labels also the output
    that holds their scores. Raises Unable."""
    import numpy

    wanted = numpy.asarray(wanted)
    name, worst = session.get_inputs()[0].name, ""
    names = [output.name for output in session.get_outputs()]
    try:
        found = dict(zip(names, session.run(names, {name: sample.astype(numpy.float32)})))  # noqa: B905 - Python 3.8
    except Exception as error:  # noqa: BLE001 - an operator that the runtime refuses
        raise Unable(f"the copy fails on the sample rows: {_short(error)}") from None
    tables = [n for n, v in found.items() if getattr(v, "ndim", 0) == 2 and v.shape[1] > 1 and v.dtype.kind == "f"]
    scores = tables[0] if tables else ""
    sure = _margins(found[scores].copy()) >= DOUBT if scores else numpy.ones(len(sample), bool)
    for output, given in found.items():
        for way, view in WAYS.items():
            if not hasattr(given, "ndim") or (way == "second column" and (given.ndim != 2 or given.shape[1] != 2)):
                continue
            seen = view(given)
            if seen.shape != wanted.shape or (seen.dtype.kind in "iufb") != (wanted.dtype.kind in "iufb"):
                continue
            if wanted.dtype.kind == "f" and seen.dtype.kind == "f":
                is_single = wanted.dtype.itemsize <= 4
                away = numpy.abs(seen - wanted) / (numpy.maximum(1.0, numpy.abs(wanted)) if is_single else 1.0)
                if numpy.all(away <= TOLERANCE):
                    return {"output": output, "way": way}
                worst = worst or f"it differs by up to {float(numpy.nanmax(away)):.2g} on a sample of {SAMPLE} rows"
            elif (wanted.dtype.kind in "iu" and seen.dtype.kind in "iu") or wanted.dtype.kind not in "iuf":
                differ = int(numpy.sum((seen != wanted) & sure))
                if not differ:
                    return {"output": output, "way": way, "scores": scores}
                worst = worst or f"it gives another label for {differ} of {SAMPLE} sample rows"
    raise Unable(f"the copy does not agree: {worst or 'it has no output like the model'}.")


def _seconds(predict: Callable[[Any], Any], sample: Any, rows: int) -> float:
    """How long a prediction of so many rows takes. They are other ones each time: of rows that it has just seen, a
    processor guesses the way through the trees, and nobody asks twice."""
    predict(sample[:rows])
    taken = []
    for turn in range(TURNS):
        start = turn * rows % (SAMPLE - rows)
        began = time.perf_counter()
        predict(sample[start : start + rows])
        taken.append(time.perf_counter() - began)
    return max(min(taken), 1e-7)


def _short(error: Exception) -> str:
    text = error.text if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
    line = text.strip().split("\n", 1)[0]
    return line[:300]
