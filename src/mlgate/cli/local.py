"""`mlgate local`: train and predict on this machine, without a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli.failure import Failure
from mlgate.cli.predict import Instances, Request, Texts, read_body
from mlgate.cli.verbs import verb, words

group = words("Train and predict on this machine, without a server.")

Framework = Annotated[str, typer.Option(help="scikit-learn, xgboost or tensorflow; without it the files decide.")]
Python = Annotated[str, typer.Option(help="The Python that runs the program; else the one that is found as python.")]


@verb(group)
def train(
    module_name: Annotated[str, typer.Option(help="The module to run, such as trainer.task.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="What the program itself is given.")
    ] = None,
    package_path: Annotated[Path | None, typer.Option(help="Directory of the package; else the current one.")] = None,
    job_dir: Annotated[str, typer.Option(help="Where the program puts what it makes (--job-dir).")] = "",
    python: Python = "",
) -> Any:
    """Run a training program as a job would, and exit with its code."""
    folder = package_path.resolve().parent if package_path is not None else Path.cwd()
    given = [*(arguments or ()), *(("--job-dir", job_dir) if job_dir else ())]
    job = {"job_name": module_name, "args": given}
    config = {"cluster": {}, "task": {"type": "chief", "index": 0}, "job": job, "environment": "cloud"}
    program = python or shutil.which("python") or sys.executable
    try:
        done = subprocess.run(
            [program, "-m", module_name, *given],
            cwd=folder,
            env={**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONUNBUFFERED": "1"},
            check=False,
        )
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{program} cannot be run: {error.strerror}.") from None
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 128 - done.returncode)


@verb(group)
def predict(
    model_dir: Annotated[Path, typer.Option(help="Directory of the model's files.")],
    json_instances: Instances = None,
    json_request: Request = None,
    text_instances: Texts = None,
    framework: Framework = "",
    signature_name: Annotated[str, typer.Option(help="Of a TensorFlow model.")] = "",
) -> Any:
    """Load a model with this machine's own Python, and print its predictions. Only for models that you trust: loading
    one runs its code."""
    from mlgate.app.local import predict_locally

    body = read_body(json_instances, json_request, text_instances)
    if signature_name:
        body = json.dumps({**json.loads(body), "signature_name": signature_name}).encode()
    if not model_dir.is_dir():
        raise Failure("INVALID_ARGUMENT", f"{model_dir} is no directory.")
    answer = predict_locally(model_dir.resolve(), framework.upper().replace("-", "_"), body)
    if "error" in answer:
        raise Failure("INVALID_ARGUMENT", str(answer["error"]))
    return answer
