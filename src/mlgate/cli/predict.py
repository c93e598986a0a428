"""`mlgate predict` and `mlgate explain`: send instances to a model and show what it answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli.client import Client, method_row
from mlgate.cli.failure import Failure
from mlgate.cli.names import model_name, version_name

Model = Annotated[str, typer.Option(help="The model's id, or its whole name.")]
Version = Annotated[str | None, typer.Option(help="One version; without it the model's default.")]
Instances = Annotated[
    Path | None, typer.Option(help="File with one JSON instance a line, or one JSON list of them; - is stdin.")
]
Request = Annotated[Path | None, typer.Option(help='File with the whole body: {"instances": [...]}.')]
Texts = Annotated[Path | None, typer.Option(help="File with one text instance a line.")]


def predict(
    client: Client,
    model: Model,
    version: Version = None,
    json_instances: Instances = None,
    json_request: Request = None,
    text_instances: Texts = None,
) -> Any:
    """Send instances to a model and print its predictions."""
    return _send(client, "predict", model, version, read_body(json_instances, json_request, text_instances))


def explain(
    client: Client,
    model: Model,
    version: Version = None,
    json_instances: Instances = None,
    json_request: Request = None,
) -> Any:
    """Print how much each feature of the instances counts, for a version with an explanation method."""
    return _send(client, "explain", model, version, read_body(json_instances, json_request, None))


def _send(client: Client, verb: str, model: str, version: str | None, body: bytes) -> Any:
    name = version_name(client, version, model) if version else model_name(client, model)
    row = method_row(f"ml.projects.{verb}", {"name": name})
    answer = client.send(row, {"name": name}, content=body, headers={"Content-Type": "application/json"})
    return client.parsed(answer)


def read_body(json_instances: Path | None, json_request: Path | None, text_instances: Path | None) -> bytes:
    """The request's body, from the one file that was given."""
    given = [file for file in (json_instances, json_request, text_instances) if file is not None]
    if len(given) != 1:
        raise Failure("INVALID_ARGUMENT", "Give one of --json-instances, --json-request and --text-instances.")
    raw = _read(given[0])
    if json_request is not None:
        return raw
    try:
        lines = [line for line in raw.decode().splitlines() if line.strip()]
        instances = lines if text_instances is not None else _instances(raw, lines)
    except ValueError as error:
        raise Failure("INVALID_ARGUMENT", f"{given[0]} holds no instances: {error}.") from None
    return json.dumps({"instances": instances}).encode()


def _instances(raw: bytes, lines: list[str]) -> list[Any]:
    """One instance a line; or, when the file is a list of lists or objects, its items."""
    if len(lines) != 1:
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            lines = [raw.decode()]
    value = json.loads(lines[0])
    several = isinstance(value, list) and value and all(isinstance(item, (list, dict)) for item in value)
    return value if several else [value]


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{file} cannot be read: {error.strerror}.") from None
