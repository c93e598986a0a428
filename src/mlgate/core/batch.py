"""Batch prediction: what a job must say, which objects it reads, and into which shards they are cut.

A shard is what is computed, kept and counted as one: parts of input objects, SHARD_BYTES at most where they can be cut.
Lines can be cut anywhere, since a line belongs to the part in which it begins (`adapters/runtimes/formats.py`); records
and whatever is compressed cannot. The number of shards is known from the start, so a result's name is, too.

Copied behaviour: `GoogleCloudMlV1__PredictionInput` of the ml v1 API. Its own extensions here: every framework, and CSV
(rows without a header) and TEXT (an instance a line) as input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlgate.core import runtimes
from mlgate.core.errors import InvalidArgument
from mlgate.core.names import parse_gs_uri

Json = dict[str, Any]
#: A part of an object: its number among the inputs, and the bytes in which its lines begin.
Part = tuple[int, int, int]

LINES = ("JSON", "TEXT", "CSV")
INPUT_FORMATS = (*LINES, "TF_RECORD", "TF_RECORD_GZIP")
OUTPUT_FORMATS = ("JSON", "CSV")
UNSPECIFIED = "DATA_FORMAT_UNSPECIFIED"
DEFAULT_WORKERS = 10
MOST_PATHS, MOST_INPUTS = 1000, 10_000
MOST_WORKERS, MOST_BATCH = 1000, 1 << 20
#: How much is done again, at most, after a process was killed; less where several can share the work, evenly.
SHARD_BYTES, LEAST_SHARD_BYTES, SHARDS_PER_WORKER = 64 << 20, 4 << 20, 4
_SOURCES = {
    "modelName": (r"projects/[^/]+/models/[^/]+", "projects/PROJECT/models/MODEL"),
    "versionName": (r"projects/[^/]+/models/[^/]+/versions/[^/]+", "projects/PROJECT/models/MODEL/versions/VERSION"),
}
_REGION = re.compile(r"[a-z]{2,20}-[a-z]{2,20}\d{1,2}|global")


# --------------------------------------------------------------------------------------------------------- new jobs


def check(batch: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a field that is missing or wrong."""
    given = [name for name in (*_SOURCES, "uri") if batch.get(name)]
    if len(given) != 1:
        what = " and ".join(given) if given else "none of them"
        raise _refuse("", f"Exactly one of modelName, versionName and uri must be given; there is {what}.")
    for name, (pattern, form) in _SOURCES.items():
        if batch.get(name) and not re.fullmatch(pattern, batch[name]):
            raise _refuse(name, f'{name} "{batch[name][:200]}" is not of the form {form}.')
    if batch.get("uri"):
        parse_gs_uri(batch["uri"], _FIELD + "uri")
    _check_data(batch)
    for name, most in (("batchSize", MOST_BATCH), ("maxWorkerCount", MOST_WORKERS)):
        if name in batch and not 1 <= int(batch[name]) <= most:
            raise _refuse(name, f"{name} is {batch[name]}; it must be between 1 and {most}.")
    if not _REGION.fullmatch(batch.get("region") or ""):
        region = (batch.get("region") or "")[:50]
        raise _refuse("region", f'region "{region}" is no region: give one such as us-central1.')
    if batch.get("runtimeVersion"):
        try:
            runtimes.check(batch["runtimeVersion"], python_of(batch["runtimeVersion"]))
        except InvalidArgument as error:
            raise _refuse("runtimeVersion", error.message) from None


def _check_data(batch: Mapping[str, Any]) -> None:
    kind, out = batch.get("dataFormat", UNSPECIFIED), output_format(batch)
    if kind not in INPUT_FORMATS:
        raise _refuse("dataFormat", f"dataFormat is required: one of {', '.join(INPUT_FORMATS)}.")
    if out not in OUTPUT_FORMATS:
        raise _refuse("outputDataFormat", f"outputDataFormat is {out}; it can be {' or '.join(OUTPUT_FORMATS)}.")
    paths = batch.get("inputPaths") or []
    if not paths:
        raise _refuse("inputPaths", "inputPaths is required: gs:// addresses, in which * stands for any text.")
    if len(paths) > MOST_PATHS:
        raise _refuse("inputPaths", f"inputPaths holds {len(paths)} addresses; {MOST_PATHS} are allowed.")
    for i, path in enumerate(paths):
        bucket, name = parse_gs_uri(path, f"{_FIELD}inputPaths[{i}]")
        if not name:
            message = f"{path} is a whole bucket: write gs://{bucket}/* for all its objects."
            raise _refuse(f"inputPaths[{i}]", message)
    if not batch.get("outputPath"):
        raise _refuse("outputPath", "outputPath is required: the gs:// address of a folder for the results.")
    parse_gs_uri(batch["outputPath"], _FIELD + "outputPath")


def output_format(batch: Mapping[str, Any]) -> str:
    given = str(batch.get("outputDataFormat", UNSPECIFIED))
    return "JSON" if given == UNSPECIFIED else given


def python_of(runtime_version: str) -> str:
    """The pythonVersion that goes with a runtime, which a batch job cannot name."""
    of_catalogue = [each.python_version for each in runtimes.CATALOGUE if each.runtime_version == runtime_version]
    return [*of_catalogue, runtimes.OLD_PYTHONS[-1]][0]


def latest_runtime() -> str:
    return runtimes.CATALOGUE[0].runtime_version


_FIELD = "job.predictionInput."


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[((_FIELD + field).rstrip("."), message)])


# ------------------------------------------------------------------------------------------------------------- data


def prefix_of(path: str) -> str:
    """What every object's name begins with that the path may mean."""
    return path.partition("*")[0]


def matching(path: str, names: Iterable[str]) -> list[str]:
    """The names that a path means: `*` is any text within a folder, `**` any text. Folders' own names are left out."""
    parts = [
        ".*" if part.startswith("**") else "[^/]*" if part == "*" else re.escape(part)
        for part in re.split(r"(\*+)", path)
    ]
    wanted = re.compile("".join(parts), re.DOTALL)
    return [name for name in names if wanted.fullmatch(name) and not name.endswith("/")]


def can_be_cut(data_format: str, name: str) -> bool:
    return data_format in LINES and not name.endswith(".gz")


def shards(inputs: Sequence[tuple[int, bool]], workers: int) -> list[list[Part]]:
    """The shards of inputs that are so large and can be cut, or not, for so many workers; at least one."""
    total = sum(size for size, _ in inputs)
    wanted = min(SHARD_BYTES, max(LEAST_SHARD_BYTES, -(-total // (SHARDS_PER_WORKER * max(workers, 1)))))
    found: list[list[Part]] = [[]]
    room = wanted
    for number, (size, is_cut) in enumerate(inputs):
        start = 0
        while start < size:
            if room <= 0:
                found.append([])
                room = wanted
            end = min(size, start + room) if is_cut else size
            found[-1].append((number, start, end))
            room -= end - start
            start = end
    return found


def result_name(kind: str, number: int, count: int) -> str:
    """What the service calls a file of its output."""
    return f"prediction.{kind}-{number:05d}-of-{count:05d}"
