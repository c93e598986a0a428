"""Batch prediction with SavedModels: records as TensorFlow writes them, and a bad row that fails alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from mlgate.adapters.runtimes import process


def predicted(python: str, folder: Path, model: Path, data: bytes, kind: str, **fields: str) -> tuple[Any, Any]:
    """The results and the errors of one file."""
    for name in ("files/input", "work"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(model, folder / "files" / "model")
    (folder / "files" / "input" / "0").write_bytes(data)
    plan = {
        "framework": "TENSORFLOW", "options": {}, "format": kind, "output": "JSON", "batch": 0, "fields": fields,
        "shards": [[0, [["0", 0, len(data), "gs://some-bucket/data"]]]],
    }  # fmt: skip
    command = [python, "-I", "-B", process.__file__, json.dumps(plan), "batch"]
    subprocess.run(command, cwd=folder / "work", check=True, env={"PATH": os.environ["PATH"], "HOME": str(folder)})
    kinds = ("results", "errors")
    results, errors = (
        [json.loads(line) for line in (folder / "work" / f"{kind}-00000").read_text().splitlines()] for kind in kinds
    )
    return results, errors


def test_records_are_the_instances_of_a_model_of_strings(python: str, models: Path, tmp_path: Path) -> None:
    data = (models / "two.tfrecord").read_bytes()
    results, errors = predicted(python, tmp_path, models / "records", data, "TF_RECORD")
    assert results == [{"size": 3, "record_bytes": {"b64": "b25l"}}, {"size": 2, "record_bytes": {"b64": "/wA="}}]
    assert errors == []


def test_a_row_that_the_model_fails_on_fails_alone(python: str, models: Path, tmp_path: Path) -> None:
    values = [*range(5), 50, *range(5)]
    data = "".join(f"{value}\n" for value in values).encode()
    results, errors = predicted(python, tmp_path, models / "many", data, "JSON", signature_name="failing")
    assert results == [{"y": float(value)} for value in values if value != 50]
    assert [(each["instance"], "too large" in each["error"]) for each in errors] == [(50, True)]
