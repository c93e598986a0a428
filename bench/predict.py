"""Online prediction on one core: mlgate, beside the same model called in process, and a no-op on the same HTTP server.

The server and its model process are pinned to one core, the load generator to another. Every contestant answers the
same request; mlgate's answers are checked against the model first. CPU is the operating system's count for all of a
contestant's processes, the steadier figure on a machine that others use too.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = (1, 8, 64)
PROJECT = "demo-project"


@dataclass(frozen=True)
class Row:
    """One measured cell: what, with how many connections, and how it went. `cpu_us` is CPU per request."""

    contestant: str
    model: str
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    errors: int


# ----------------------------------------------------------------------------------------------------------- models


def models() -> dict[str, tuple[Any, list[list[float]]]]:
    """Fitted scikit-learn models and one instance for each."""
    from sklearn.datasets import load_breast_cancer, load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris, kinds = load_iris(return_X_y=True)
    cancer, benign = load_breast_cancer(return_X_y=True)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(iris, kinds)
    forest = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(cancer, benign)
    return {"iris pipeline": (linear, iris[:1].tolist()), "forest of 100": (forest, cancer[:1].tolist())}


# ------------------------------------------------------------------------------------------------------ contestants


def in_process(model: Any, body: bytes, seconds: float) -> tuple[float, float, float, float]:
    """JSON in, predict, JSON out, in a plain loop: (per second, p50 ms, p99 ms, CPU µs)."""
    import numpy as np
    import orjson

    def once() -> bytes:
        return orjson.dumps({"predictions": model.predict(np.array(orjson.loads(body)["instances"])).tolist()})

    until, taken = time.perf_counter() + seconds, []
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() < until:
        start = time.perf_counter()
        once()
        taken.append(time.perf_counter() - start)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - began
    taken.sort()
    count = len(taken)
    return count / elapsed, taken[count // 2] * 1e3, taken[int(count * 0.99)] * 1e3, cpu / count * 1e6


_NOOP = """
import socket, sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"): pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"19")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"predictions":[0]}'})
config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, proxy_headers=False,
                        lifespan="off", ws="none")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@contextmanager
def noop_server() -> Iterator[tuple[str, int]]:
    """A handler that reads the body and answers a constant, on the server that mlgate uses: (address, pid)."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listening.set_inheritable(True)
    process = subprocess.Popen(
        [sys.executable, "-c", _NOOP, str(listening.fileno())], pass_fds=[listening.fileno()], preexec_fn=_pin
    )
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", process.pid
    finally:
        process.terminate()
        process.wait()
        listening.close()


@contextmanager
def mlgate_server(root: Path) -> Iterator[tuple[str, int, str]]:
    """A server in a fresh directory: (address, pid, the owner's token)."""
    program = [sys.executable, "-m", "mlgate.cli.main"]
    data = ["--data-dir", str(root)]
    owner = "user:ada@example.com"
    subprocess.run([*program, "admin", "init", *data, "--owner", owner, "--project", PROJECT], check=True, stderr=-3)
    ready = root / "ready.json"
    process = subprocess.Popen(
        [*program, "serve", *data, "--port", "0", "--ready-file", str(ready)], stderr=-3, preexec_fn=_pin
    )
    try:
        until = time.monotonic() + 90
        while not ready.exists():
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.05)
        token = subprocess.run([*program, "admin", "token", *data, owner], check=True, capture_output=True, text=True)
        yield json.loads(ready.read_text())["url"], process.pid, token.stdout.strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def deploy(client: httpx.Client, name: str, model: Any) -> str:
    """Upload and deploy; the path to predict at."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    project = f"/v1/projects/{PROJECT}"
    client.post("/storage/v1/b", params={"project": PROJECT}, json={"name": f"bench-{name}"}).raise_for_status()
    where = {"uploadType": "media", "name": "m/model.joblib"}
    client.post(f"/upload/storage/v1/b/bench-{name}/o", params=where, content=buffer.getvalue()).raise_for_status()
    client.post(f"{project}/models", json={"name": name}).raise_for_status()
    body = {"name": "v", "deploymentUri": f"gs://bench-{name}/m", "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    operation = client.post(f"{project}/models/{name}/versions", json=body).raise_for_status().json()
    while not operation.get("done"):
        time.sleep(0.1)
        operation = client.get(f"/v1/{operation['name']}").json()
    if "error" in operation:
        raise RuntimeError(operation["error"]["message"])
    return f"{project}/models/{name}:predict"


# ---------------------------------------------------------------------------------------------------------- measure


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {SERVER_CORE})


def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        ticks += sum(int(n) for n in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def loaded(url: str, pid: int, body: str, connections: int, seconds: float, token: str = "") -> dict[str, float]:
    """Load an address for a while, and what it took; the best of three by requests a second."""
    plan = {
        "url": url, "connections": connections, "seconds": seconds, "warmup": 0.5, "body": body, "cpu": LOAD_CORE,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
    }  # fmt: skip
    best: dict[str, float] = {}
    for _ in range(3):
        pids = family(pid)
        before = cpu_seconds(pids)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"], input=json.dumps(plan), capture_output=True, text=True, check=True
        )
        measured = json.loads(done.stdout)
        answered = max(measured["per_second"] * (seconds + plan["warmup"]), 1)
        measured["cpu_us"] = (cpu_seconds(pids) - before) / answered * 1e6
        if measured["per_second"] > best.get("per_second", 0):
            best = measured
    return best


def run(seconds: float = 2.0, progress: Callable[[str], None] = lambda _: None) -> list[Row]:
    """All rows, every contestant in the same run. Raises RuntimeError when an answer of mlgate is not the model's."""
    rows: list[Row] = []

    def add(contestant: str, model: str, connections: int, m: dict[str, float]) -> None:
        rows.append(
            Row(
                contestant, model, connections, m["per_second"], m["p50_ms"], m["p99_ms"], m["cpu_us"], int(m["errors"])
            )
        )
        progress(f"{contestant}, {model}, {connections} connections: {m['per_second']:.0f}/s")

    fitted = models()
    body = json.dumps({"instances": fitted["iris pipeline"][1]})
    with noop_server() as (url, pid):
        time.sleep(1.0)
        for connections in CONNECTIONS:
            add("no-op handler", "-", connections, loaded(url, pid, body, connections, seconds))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, pid, token = stack.enter_context(mlgate_server(Path(folder) / "data"))
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        stack.enter_context(client)
        for n, (name, (model, instance)) in enumerate(fitted.items()):
            body = json.dumps({"instances": instance})
            per_second, p50, p99, cpu = in_process(model, body.encode(), seconds)
            rows.append(Row("in process", name, 1, per_second, p50, p99, cpu, 0))
            path = deploy(client, f"model{n}", model)
            answer = client.post(path, content=body).json()
            if answer != {"predictions": model.predict(instance).tolist()}:
                raise RuntimeError(f"{name} answers {answer}")
            for connections in CONNECTIONS:
                add("mlgate", name, connections, loaded(url + path, pid, body, connections, seconds, token))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown, ratios first."""
    noop = {r.connections: r for r in rows if r.contestant == "no-op handler"}
    direct = {r.model: r for r in rows if r.contestant == "in process"}
    lines = [
        "| contestant | model | connections | ÷ no-op | ÷ in process | requests/s | p50 ms | p99 ms | CPU µs/request "
        "| errors |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        of_noop = f"{r.per_second / noop[r.connections].per_second:.2f}" if r.contestant == "mlgate" else ""
        of_direct = f"{r.per_second / direct[r.model].per_second:.2f}" if r.contestant == "mlgate" else ""
        lines.append(
            f"| {r.contestant} | {r.model} | {r.connections} | {of_noop} | {of_direct} | {r.per_second:,.0f} | "
            f"{r.p50_ms:.2f} | {r.p99_ms:.2f} | {r.cpu_us:,.0f} | {r.errors} |"
        )
    return "\n".join(lines)
