"""The contestants: one row each. How it is prepared and started, what it is asked, and where its packages are.

In commands and paths stand {python} and {bin} (of its environment), {port}, {port2}, {port3}, {model}, {work} (a folder
of its own), {data} (the models) and {peers} (the folder of the peers' programs).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.serving.environments import OWN
from bench.serving.mlgate import FIELDS, predict_path
from bench.serving.models import MODELS

Kind = Literal["mlgate", "prototype", "peer", "limit"]


@dataclass(frozen=True)
class Contestant:
    name: str
    environment: str
    command: str
    about: str
    path: str = "/v1/models/{model}:predict"
    prepare: str = ""
    kind: Kind = "peer"
    protocol: str = "v1"
    models: tuple[str, ...] = MODELS
    is_one_model: bool = False
    """Whether a server of it serves one model: each model then gets a server of its own."""
    is_heavy: bool = False
    """Whether it runs only when it is named."""
    environ: Mapping[str, str] = field(default_factory=dict)


_UVICORN = (
    "{python} -m uvicorn --host 127.0.0.1 --port {port} --log-level error --no-access-log --loop uvloop"
    " --http httptools --app-dir {peers} "
)
_BENTOML = "{bin}/bentoml serve %s:Models --working-dir {peers} --host 127.0.0.1 --port {port} -q"
_MLSERVER = "{python} {peers}/mlserver_prepare.py %d {work}/repository {port} {port2} {port3}"
_GRANIAN = (
    "{python} -m granian --host 127.0.0.1 --port {port} --workers 1 --no-ws --log-level error --interface rsgi"
    " --working-dir {peers} prototype_front:app"
)


def _mlgate(name: str, about: str, fields: Mapping[str, object]) -> Contestant:
    """mlgate as it is installed, its models deployed over the API with these fields of the version besides."""
    return Contestant(
        name, OWN, kind="mlgate", about=about, path=predict_path("{model}"),
        prepare="{python} -m bench.serving.mlgate {work}/data {data}",
        command="{python} -m mlgate.cli.main serve --data-dir {work}/data --port {port}",
        environ={"MLGATE_CONSOLE_PORT": "-1", FIELDS: json.dumps(fields)},
    )  # fmt: skip


def _prototype(name: str, about: str, **environ: str) -> Contestant:
    return Contestant(name, "prototype", _GRANIAN, about, kind="prototype", environ=environ)


#: The version's fields that have ONNX copies made, and that leave them out.
ONNX_ON: Mapping[str, object] = {}
ONNX_OFF: Mapping[str, object] = {"fasterCopy": {"disabled": True}}

MLGATE, MLGATE_ONNX = "mlgate", "mlgate, ONNX copy"
FASTAPI, PROTOTYPE, PROTOTYPE_ONNX = "FastAPI by hand", "prototype, batching", "prototype, batching, ONNX"
NOOP, IN_PROCESS = "no-op", "in process"

CONTESTANTS: tuple[Contestant, ...] = (
    _mlgate(MLGATE, "sign-in, decision and audit on, confined processes; three models in one server", ONNX_OFF),
    _mlgate(MLGATE_ONNX, "the same, with the ONNX copy of each model, as by default", ONNX_ON),
    Contestant(FASTAPI, "fastapi", _UVICORN + "fastapi_server:app", "FastAPI, pydantic, uvicorn; one process"),
    Contestant(
        "BentoML, batching", "bentoml", _BENTOML % "bentoml_batching_server",
        "its batchable API, up to 50 ms of waiting", path="/{model}",
    ),
    Contestant("BentoML", "bentoml", _BENTOML % "bentoml_server", "an endpoint for each model", path="/{model}"),
    Contestant(
        "MLServer, 0 workers", "mlserver", "{bin}/mlserver start {work}/repository", "models in the server's process",
        path="/v2/models/{model}/infer", prepare=_MLSERVER % 0, protocol="v2",
    ),
    Contestant(
        "MLServer, 1 worker", "mlserver", "{bin}/mlserver start {work}/repository", "models in a worker process",
        path="/v2/models/{model}/infer", prepare=_MLSERVER % 1, protocol="v2",
    ),
    Contestant("KServe SDK", "kserve", "{python} {peers}/kserve_server.py {port}", "its Python server, V1 protocol"),
    Contestant(
        "MLflow", "mlflow",
        "{bin}/mlflow models serve -m {work}/{model} --env-manager local --host 127.0.0.1 --port {port} --workers 1",
        "models serve; a server for each model", path="/invocations", is_one_model=True,
        prepare="{python} {peers}/mlflow_prepare.py {model} {work}/{model}",
    ),
    Contestant(
        "LitServe", "litserve", "{python} {peers}/litserve_server.py {model} {port}",
        "one worker process; a server for each model", path="/predict", is_one_model=True,
    ),
    Contestant(
        "Ray Serve", "ray", "{python} {peers}/ray_server.py {port} {work}/ray", "one replica for each model",
        path="/{model}", is_heavy=True,
    ),
    _prototype("prototype", "granian, unix socket, worker process; no sign-in, decision, audit or limits"),
    _prototype(PROTOTYPE, "the same, predicting together what has arrived", PROTOTYPE_BATCHING="1"),
    _prototype("prototype, ONNX", "the prototype with ONNX copies", PROTOTYPE_ONNX="1"),
    _prototype(PROTOTYPE_ONNX, "both", PROTOTYPE_BATCHING="1", PROTOTYPE_ONNX="1"),
    Contestant(
        NOOP, OWN, "{python} {peers}/noop_server.py {port}", "a constant answer on mlgate's HTTP server", kind="limit"
    ),
    Contestant(
        IN_PROCESS, OWN, "{python} {peers}/in_process.py {model} {body} {seconds}",
        "a plain loop: JSON in, predict, JSON out; no HTTP", kind="limit", is_one_model=True,
    ),
)  # fmt: skip

BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}


@dataclass(frozen=True, order=True)
class Cell:
    """One measurement: a model, the instances of a request, the connections."""

    model: str
    instances: int
    connections: int

    def __str__(self) -> str:
        return f"{self.model}:{self.instances}:{self.connections}"


CELLS: tuple[Cell, ...] = (
    *(Cell("xgb", n, c) for n in (1, 8, 100) for c in (1, 8, 64) if (n, c) != (100, 64)),
    *(Cell(m, 1, c) for m in ("iris", "rf") for c in (1, 8, 64)),
    *(Cell(m, n, 8) for m in ("iris", "rf") for n in (8, 100)),
)
"""100 instances on 64 connections are left out: that measures the queue alone."""
