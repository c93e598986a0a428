"""Batch prediction, confined: `python -I process.py <plan as JSON> batch`, in the working folder of an execution.

For each shard of the plan: read its parts, predict them in blocks, write one result a line. What is made of shard 7 is
`errors-00007` and then `results-00007`, each under its name only when it is whole: so a result that is there is final.

    # INVARIANT: each instance is a line of the results or a line of the errors, whatever its neighbours are.

A block that fails is repeated in halves, down to the instance that is to blame. In JSON, results are the predictions as
online prediction gives them; in CSV, their values, with the keys of objects in `keys-00007`. An error is an object with
the `error` and the `instance`.

The plan: {"framework", "options", "format", "output", "batch", "fields", "shards": [[NUMBER, [[FILE, START, END, NAME],
...]], ...]}. The execution's files are in `../files`: model/, packages/ and input/FILE.
"""

from __future__ import annotations

import base64
import csv
import gc
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, BinaryIO

from .batching import predicted, prepared
from .contract import INPUTS, LOADING, OUTPUTS, RUNNING, Failed, Request, decoded, dumps, loads
from .formats import LONGEST_LINE, Table, TooLong, Unreadable, cells_of, lines, opened, records, table_of
from .frameworks import Model, array_key, load_model

#: Exit code for a model or an input that cannot be used; the reason is the last line of the error output.
UNUSABLE = 78
#: Instances that a framework of arrays is given at once, unless more are asked for. Others get what batchSize says,
#: which is the service's 64 by default.
ROWS, DEFAULT_BATCH = 8192, 64
SAY_SECONDS = 10.0
_PLAIN = {int, float, bool, type(None)}


class Shard:
    """The two files of a shard, and what is in them."""

    def __init__(self, number: int, output: str) -> None:
        self.number = number
        self.predictions = self.errors = 0
        self.began = time.process_time()
        self.encode: Callable[[Any], bytes] = encode_json if output == "JSON" else self.encode_csv
        self.keys: list[str] | None = None
        self._results: BinaryIO = open(f"results-{number:05d}.part", "wb", buffering=1 << 20)  # noqa: SIM115
        self._errors: BinaryIO = open(f"errors-{number:05d}.part", "wb", buffering=1 << 16)  # noqa: SIM115

    def add(self, predictions: Any) -> None:
        """Raises Failed(OUTPUTS) when they cannot be written, and then nothing of them is."""
        try:
            text = self.encode(predictions)
        except (TypeError, ValueError, RecursionError) as error:
            raise Failed(OUTPUTS, f"the predictions cannot be written ({error})") from None
        self._results.write(text)
        self.predictions += len(predictions)

    def fail(self, instance: Any, error: str) -> None:
        if isinstance(instance, bytes):
            instance = {"b64": base64.b64encode(instance).decode("ascii")}
        try:
            line = dumps({"error": error, "instance": instance})
        except (TypeError, ValueError, RecursionError):
            line = dumps({"error": error, "instance": repr(instance)})
        self._errors.write(line + b"\n")
        self.errors += 1

    def encode_csv(self, predictions: Any) -> bytes:
        """Objects as their values in the order of the first one's keys. Raises ValueError for one with other keys."""
        rows: list[list[Any]] = []
        for prediction in predictions:
            if isinstance(prediction, dict):
                if self.keys is None and not (self.predictions or rows):
                    self.keys = list(prediction)
                if self.keys is None or set(prediction) != set(self.keys):
                    raise ValueError(f"CSV has the columns {self.keys}, and a prediction has {list(prediction)}")
                prediction = [prediction[key] for key in self.keys]
            elif self.keys is not None:
                raise ValueError(f"CSV has the columns {self.keys}, and a prediction is no object")
            rows.append([_cell(value) for value in (prediction if isinstance(prediction, list) else [prediction])])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode("utf-8")

    def close(self) -> None:
        self._results.close()
        self._errors.close()
        if self.keys is not None:
            with open(f"keys-{self.number:05d}", "w", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(self.keys)
        for kind in ("errors", "results"):
            os.rename(f"{kind}-{self.number:05d}.part", f"{kind}-{self.number:05d}")


def encode_json(predictions: Any) -> bytes:
    if not _PLAIN.issuperset(map(type, predictions)):
        return b"".join([dumps(prediction) + b"\n" for prediction in predictions])
    return dumps(predictions)[1:-1].replace(b",", b"\n") + b"\n"  # numbers hold no comma


def _cell(value: Any) -> Any:
    """A value as one cell of one line."""
    if value is None or value != value:
        return ""
    if isinstance(value, str) and "\n" not in value and "\r" not in value:
        return value
    return dumps(value).decode("utf-8")


class Batch:
    def __init__(self, model: Model, plan: dict[str, Any]) -> None:
        self.model = model
        self.format: str = plan["format"]
        self.fields: dict[str, Any] = plan["fields"]
        self.takes_arrays = model.key is array_key
        self.most = int(plan["batch"] or DEFAULT_BATCH)
        if self.takes_arrays:
            self.most = max(self.most, ROWS)
        self._said = time.monotonic()

    def compute(self, shard: Shard, parts: Sequence[tuple[str, int, int, str]]) -> None:
        """Raises Unreadable."""
        for file, start, end, name in parts:
            try:
                for instances, shown in self._blocks(
                    shard, os.path.join("..", "files", "input", file), start, end, name
                ):
                    for at in range(0, len(instances), self.most):
                        self._predict(shard, instances[at : at + self.most], shown[at : at + self.most])
                        self._say(shard)
            except Unreadable as error:
                raise Unreadable(f"{name} cannot be read: {error}") from None
        shard.close()
        self._say(shard, is_done=True)

    def _say(self, shard: Shard, is_done: bool = False) -> None:
        now = time.monotonic()
        if is_done or now - self._said > SAY_SECONDS:
            self._said = now
            seconds = time.process_time() - shard.began
            how = "is computed" if is_done else "goes on"
            what = f"{shard.predictions} predictions, {shard.errors} errors, {seconds:.2f} s of processor time"
            print(f"Shard {shard.number} {how}: {what}.", flush=True)

    # -------------------------------------------------------------------------------------------------------- read

    def _blocks(self, shard: Shard, path: str, start: int, end: int, name: str) -> Iterator[tuple[Any, Any]]:
        """Some instances and how each is shown in an error; those that cannot even be read are errors already."""
        is_zipped = self.format == "TF_RECORD_GZIP" or name.endswith(".gz")
        with opened(path, is_zipped) as file:
            if self.format.startswith("TF_RECORD"):
                for block in records(file, self.most):
                    yield block, block
                return
            for text in lines(file, start, float("inf") if is_zipped else end):
                if isinstance(text, TooLong):
                    error = Failed(INPUTS, f"a line is longer than {LONGEST_LINE} bytes")
                    shard.fail(text.start.decode("utf-8", "replace"), error.text)
                elif self.format == "JSON":
                    yield self._objects(shard, text)
                elif self.format == "CSV":
                    yield self._rows(shard, text)
                else:
                    yield self._texts(shard, text)

    def _objects(self, shard: Shard, text: bytes) -> tuple[Any, Any]:
        split = text.split(b"\n")
        has_bytes = b'"' in text and (b'"b64"' in text or b"\\u" in text)
        if not has_bytes:
            try:
                found = [loads(line) for line in split if line and not line.isspace()]
                return found, found
            except (ValueError, RecursionError):
                pass
        instances, shown = [], []
        for line in split:
            if not line.strip():
                continue
            try:
                value = loads(line)
            except (ValueError, RecursionError) as error:
                shard.fail(line.decode("utf-8", "replace"), Failed(INPUTS, f"the line is not JSON ({error})").text)
                continue
            try:
                instances.append(decoded(value))
                shown.append(value)
            except (Failed, RecursionError) as error:
                told = error.text if isinstance(error, Failed) else Failed(INPUTS, "it is nested too deeply").text
                shard.fail(value, told)
        return instances, shown

    def _rows(self, shard: Shard, text: bytes) -> tuple[Any, Any]:
        if self.takes_arrays:
            table = table_of(text)
            if table is not None:
                return table, Table(text)
        instances, shown = [], []
        for line in self._texts(shard, text)[0]:
            try:
                instances.append(cells_of(line))
                shown.append(line)
            except (csv.Error, ValueError) as error:
                shard.fail(line, Failed(INPUTS, f"the line is not CSV ({error})").text)
        return instances, shown

    def _texts(self, shard: Shard, text: bytes) -> tuple[Any, Any]:
        found = []
        for line in text.split(b"\n"):
            line = line[:-1] if line.endswith(b"\r") else line
            try:
                if line:
                    found.append(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                shard.fail(line, Failed(INPUTS, f"the line is not UTF-8 ({error})").text)
        return found, found

    # ----------------------------------------------------------------------------------------------------- predict

    def _predict(self, shard: Shard, instances: Any, shown: Any) -> None:
        if not len(instances):
            return
        try:
            inputs = prepared(self.model, Request(instances, self.fields))
            if len(instances) > 1 and self.takes_arrays and inputs.dtype.kind not in "iufb":
                runs = [list(run) for _, run in groupby(range(len(instances)), lambda i: _kinds(instances[i]))]
                if len(runs) > 1:  # together, one row's text would turn its neighbour's numbers into text
                    for run in runs:
                        part = slice(run[0], run[-1] + 1)
                        self._predict(shard, instances[part], shown[part])
                    return
            shard.add(_as_many(predicted(self.model, inputs), len(instances)))
            return
        except Failed as failure:
            error = failure.text
        except MemoryError:
            error = Failed(RUNNING, "the model ran out of memory").text
        except (Exception, SystemExit) as other:  # noqa: BLE001 - a model may raise anything at all
            error = Failed(RUNNING, repr(other)).text
        if len(instances) == 1:
            shard.fail(shown[0], error)
            return
        half = len(instances) // 2
        for part in (slice(None, half), slice(half, None)):
            self._predict(shard, instances[part], shown[part])


def _kinds(instance: Any) -> Any:
    """The types of an instance's values, as far as they matter when instances become one array."""
    if isinstance(instance, list):
        return tuple([_kinds(value) for value in instance])
    return float if type(instance) in _PLAIN else type(instance)


def _as_many(predictions: Any, count: int) -> list[Any]:
    """Raises Failed(OUTPUTS) when there is not one for each instance; a custom routine may answer one instance with
    a value."""
    if isinstance(predictions, tuple):
        predictions = list(predictions)
    if not isinstance(predictions, list) and count == 1:
        return [predictions]
    if not isinstance(predictions, list) or len(predictions) != count:
        given = len(predictions) if isinstance(predictions, list) else "no list of"
        raise Failed(OUTPUTS, f"the model gave {given} predictions for {count} instances")
    return predictions


def main(start: str) -> None:
    plan: dict[str, Any] = json.loads(start)
    try:
        batch = Batch(_loaded(plan), plan)
        gc.collect()
        gc.freeze()
        for number, parts in plan["shards"]:
            batch.compute(Shard(number, plan["output"]), parts)
    except Failed as failure:
        _refuse(failure.text)
    except Unreadable as error:
        _refuse(str(error))
    sys.stdout.flush()
    os._exit(0)


def _loaded(plan: dict[str, Any]) -> Model:
    files = os.path.abspath(os.path.join("..", "files"))
    options = dict(plan["options"])
    if os.path.isdir(os.path.join(files, "packages")):
        options["packages"] = os.path.join(files, "packages")
    began = time.monotonic()
    try:
        framework, model = load_model(plan["framework"], os.path.join(files, "model"), options)
    except Failed:
        raise
    except MemoryError:
        raise Failed(LOADING, "it does not fit in its memory limit") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a framework that breaks on import
        raise Failed(LOADING, repr(error)) from None
    warnings.simplefilter("ignore")
    print(f"The model is loaded, as {framework}, in {time.monotonic() - began:.1f} s.", flush=True)
    return model


def _refuse(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
    os._exit(UNUSABLE)
