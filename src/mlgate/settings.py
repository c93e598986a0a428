"""Settings: one row each, with its default, its environment variable and what it means. Read once, at start.

`mlgate settings` prints this table with each value and where it came from. Values come from the command line, else from
`MLGATE_<NAME>`, else from the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mlgate.core.iam.roles import CATALOGUES, DOCUMENTED


def _row(default: Any, about: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"about": about, "choices": choices})


@dataclass(frozen=True)
class Settings:
    data_dir: str = _row("./mlgate-data", "Directory of the embedded database, objects and models.")
    host: str = _row("127.0.0.1", "Address to listen on.")
    port: int = _row(8080, "Port to listen on; 0 takes any free one.")
    workers: int = _row(1, "Number of API processes.")
    public_url: str = _row("", "Address that clients use, when it differs from the one listened on.")
    console_port: int = _row(8081, "Port of the web console; 0 takes any free one, -1 leaves the console out.")
    console_url: str = _row("", "Address of the console for browsers, when it differs from the one listened on.")
    database_url: str = _row("", "PostgreSQL address (postgresql://...); empty uses SQLite in the data directory.")
    role_catalogue: str = _row(DOCUMENTED, "Which role table holds.", CATALOGUES)
    sandbox: str = _row(
        "auto", "How model code is confined; off must be typed.", ("auto", "bubblewrap", "landlock", "off")
    )
    runtime_python: str = _row("", "Python that all models run in; empty goes by the runtimeVersion of each.")
    own_runtime: bool = _row(
        True, "Whether the server's own Python stands in for a runtimeVersion when it has what that needs."
    )
    runtimes_dir: str = _row("", "Directory of built runtime environments; empty is runtimes in the data directory.")
    wheelhouse: str = _row("", "Directory of wheels that environments are built from; nothing is fetched then.")
    model_memory: int = _row(4 << 30, "Memory limit of one model process, in bytes.")
    faster_copies: bool = _row(
        True, "Whether deployments of scikit-learn and XGBoost models make an ONNX copy for small requests."
    )
    models_memory: int = _row(0, "Memory for all model processes, in bytes; 0 is two thirds of the machine's.")
    model_nodes: int = _row(0, "Processes that one version may have; 0 is as many as there are processors.")
    model_spares: int = _row(1, "Processes that wait, imported, for a version of a kind that was started lately.")
    idle_seconds: float = _row(900.0, "Seconds after which a version with minNodes 0 that nobody asks goes without.")
    load_timeout: float = _row(120.0, "Seconds that a model may take to load.")
    predict_timeout: float = _row(60.0, "Seconds that a prediction may take.")
    predict_queue: int = _row(512, "Predictions that may wait for one version before callers get 429.")
    runner_slots: int = _row(0, "Processes of jobs that run at once; 0 is one for each processor, -1 runs no jobs.")
    job_memory: int = _row(4 << 30, "Memory limit of a job, or of each process of a cluster, in bytes.")
    job_disk: int = _row(20 << 30, "Bytes that the working folder of a job, or of a trial, may hold.")
    job_log: int = _row(64 << 20, "Bytes that each process of a job may log; what is more is counted and dropped.")
    job_network: str = _row("", "Projects, with commas, whose jobs may reach the network; * is all.")
    job_patience: float = _row(3600.0, "Seconds that jobs go on while no server runs; then they are ended.")
    token_lifetime: float = _row(3600.0, "Seconds that an access token is good for.")
    max_token_lifetime: float = _row(43200.0, "The longest lifetime that may be asked for, in seconds.")
    max_request: int = _row(2 << 20, "Largest JSON body of a request, in bytes.")
    max_predict: int = _row(1_500_000, "Largest body of a prediction, in bytes (1.5 MB on the service).")
    max_object: int = _row(50 << 30, "Largest object, in bytes.")
    max_model_files: int = _row(1000, "Files that a deployed directory may hold.")
    max_model_bytes: int = _row(10 << 30, "Bytes that a deployed directory may hold.")
    max_models: int = _row(10_000, "Models that a project may hold.")
    max_versions: int = _row(10_000, "Versions that a model may hold.")
    policy_revisions_kept: int = _row(1000, "Revisions that each policy keeps, the present one included; 0 keeps none.")
    request_log_seconds: float = _row(5.0, "Seconds between writes of logged requests, access lines and model output.")
    max_table_bytes: int = _row(10 << 30, "Bytes that a table of logged requests may hold; further rows are dropped.")
    lease_seconds: float = _row(15.0, "Seconds after which the work of a dead worker is taken up again.")
    access_token_parameter: bool = _row(False, "Whether access_token may stand in a query string (it ends up in logs).")
    log_level: str = _row("info", "What is logged.", ("debug", "info", "warning", "error"))


@dataclass(frozen=True)
class Source:
    """A setting as `mlgate settings` shows it."""

    name: str
    variable: str
    value: Any
    origin: str
    about: str


def nodes_of(settings: Settings) -> int:
    """How many processes one version may have."""
    return settings.model_nodes or len(os.sched_getaffinity(0))


def models_memory_of(settings: Settings) -> int:
    """Bytes of memory for all model processes together."""
    return settings.models_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 2 // 3


def slots_of(settings: Settings) -> int:
    """How many processes of jobs run at once."""
    return settings.runner_slots or os.cpu_count() or 1


def variable(name: str) -> str:
    return f"MLGATE_{name.upper()}"


def load(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings: command line before environment before defaults. Raises ValueError that names the setting."""
    return Settings(**{row.name: row.value for row in explain(given, environ)})


def explain(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> list[Source]:
    """Every setting with its value and where it came from."""
    rows = []
    for row in fields(Settings):
        name = variable(row.name)
        if given.get(row.name) is not None:
            value, origin = given[row.name], "command line"
        elif name in environ:
            value, origin = environ[name], name
        else:
            value, origin = row.default, "default"
        rows.append(Source(row.name, name, _convert(row, value, origin), origin, row.metadata["about"]))
    return rows


def _convert(row: Any, value: Any, origin: str) -> Any:
    choices = row.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f'{row.name} is "{value}" ({origin}); it must be one of {", ".join(choices)}')
    if row.type == "bool" and isinstance(value, str):
        if value.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f'{row.name} is "{value}" ({origin}); it must be true or false')
        return value.lower() in ("true", "1")
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    try:
        return kinds[row.type](value)
    except ValueError:
        raise ValueError(f'{row.name} is "{value}" ({origin}); it must be a number') from None
