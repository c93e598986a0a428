"""A real mlgate server for measurements: set up by its command line, spoken to by its API and nothing else.

`python -m bench.serving.mlgate DIRECTORY MODELS` sets one up with the benchmark's models deployed, and stops it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

from bench.serving.processes import family, pin

PROJECT = "bench-project"
OWNER = "user:ada@example.com"
FIELDS = "SERVING_FIELDS"
"""The environment variable with more fields of the versions that are deployed, as JSON."""
START_SECONDS = 120
DEPLOY_SECONDS = 180
PROGRAM = (sys.executable, "-m", "mlgate.cli.main")
RUNTIME = {"runtimeVersion": "2.11", "pythonVersion": "3.7"}
"""Old names, for which the server's own Python stands in: the libraries are those of mlgate's lock."""
FILES = {
    "iris": ("SCIKIT_LEARN", "model.joblib", "model.joblib"),
    "rf": ("SCIKIT_LEARN", "model.joblib", "model.joblib"),
    "xgb": ("XGBOOST", "model.ubj", "model.bst"),
}
"""Of each of the benchmark's models: framework, file, and the name that it is deployed under."""


def predict_path(name: str) -> str:
    """Of a model, `iris`, or of one of its versions, `iris/v1`."""
    return f"/v1/projects/{PROJECT}/models/{name.replace('/', '/versions/')}:predict"


class Mlgate:
    """A server on a data directory of its own. Use it in a `with`: that starts and ends it."""

    def __init__(self, directory: Path, settings: Mapping[str, object] | None = None, core: int | None = None) -> None:
        """`settings` by their names; one that this server does not know is ignored. `core` is for all its processes."""
        self.directory = directory
        self.core = core
        self.spares = int(str((settings or {}).get("model_spares", 0)))
        variables = {"console_port": -1, "log_level": "error", **(settings or {})}
        self._environ = {**os.environ, **{f"MLGATE_{name.upper()}": str(value) for name, value in variables.items()}}

    def initialize(self) -> Mlgate:
        """Set up the directory, if it is not."""
        if (self.directory / "mlgate.db").exists():
            return self
        data = ["--data-dir", str(self.directory)]
        command = [*PROGRAM, "admin", "init", *data, "--owner", OWNER, "--project", PROJECT]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def token(self) -> str:
        data = ["--data-dir", str(self.directory), "--lifetime", "43200s"]
        done = subprocess.run([*PROGRAM, "admin", "token", *data, OWNER], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def __enter__(self) -> Mlgate:
        """Raises RuntimeError when it does not start."""
        self.initialize()
        ready = self.directory / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, "serve", "--data-dir", str(self.directory), "--port", "0", "--ready-file", str(ready)],
                env=self._environ, stdout=log, stderr=log,
                preexec_fn=None if self.core is None else lambda core=self.core: pin(core),
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"mlgate did not start: {(self.directory / 'server.log').read_text()[-500:]}")
            time.sleep(0.02)
        self.url = json.loads(ready.read_text())["url"]
        self.bearer = self.token()
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.bearer}"}, timeout=120)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    @property
    def pid(self) -> int:
        return self._process.pid

    def pids(self) -> list[int]:
        """The server's processes and those of its models."""
        return family(self.pid)

    def model_pids(self) -> list[int]:
        """The models' own processes: of a confined one the innermost."""
        return model_pids(self.pids())

    def call(self, verb: str, path: str, **options: Any) -> Any:
        """The decoded answer. Raises RuntimeError with the server's words when it is an error."""
        answer = self.http.request(verb, path, **options)
        if answer.is_error:
            raise RuntimeError(f"{verb} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def upload(self, folder: str, files: Mapping[str, bytes]) -> str:
        """Put files into the bucket of the benchmark, which is made if need be; the gs:// address of their folder."""
        bucket = f"{PROJECT}-models"
        if self.http.get(f"/storage/v1/b/{bucket}").status_code == 404:
            self.call("POST", "/storage/v1/b", params={"project": PROJECT}, json={"name": bucket})
        for name, content in files.items():
            where = {"uploadType": "media", "name": f"{folder}/{name}"}
            self.call("POST", f"/upload/storage/v1/b/{bucket}/o", params=where, content=content)
        return f"gs://{bucket}/{folder}"

    def begin(self, name: str, address: str, framework: str, fields: Mapping[str, Any] | None = None) -> str:
        """Begin to deploy a folder as a version, `iris` (its v1) or `iris/v2`; the operation's name."""
        models = f"/v1/projects/{PROJECT}/models"
        model, _, version = name.partition("/")
        if self.http.get(f"{models}/{model}").status_code == 404:
            self.call("POST", models, json={"name": model})
        body = {"name": version or "v1", "deploymentUri": address, "framework": framework, **RUNTIME, **(fields or {})}
        return str(self.call("POST", f"{models}/{model}/versions", json=body)["name"])

    def finish(self, operations: Iterable[str]) -> None:
        """Return when all are done. Raises RuntimeError when one failed."""
        until = time.monotonic() + DEPLOY_SECONDS
        for name in operations:
            while not (operation := self.call("GET", f"/v1/{name}")).get("done"):
                if time.monotonic() > until:
                    raise RuntimeError(f"{name} is not done after {DEPLOY_SECONDS} s")
                time.sleep(0.05)
            if "error" in operation:
                raise RuntimeError(f"{name}: {operation['error']['message']}")

    def deploy(self, data: Path, model: str, name: str = "", fields: Mapping[str, Any] | None = None) -> None:
        """Deploy one of the benchmark's models, under its own name or another. Returns when it is READY."""
        framework, file, deployed = FILES[model]
        address = self.upload(model, {deployed: (data / model / file).read_bytes()})
        self.finish([self.begin(name or model, address, framework, fields)])

    def predict(self, model: str, body: bytes) -> httpx.Response:
        return self.http.post(predict_path(model), content=body, headers={"Content-Type": "application/json"})


def model_pids(pids: Iterable[int]) -> list[int]:
    """Those that run a model's code: a Python with runtimes/process.py, not the sandbox's program around it."""
    found = []
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_python = re.search(rb"(^|/)python[\d.]*$", words[0]) is not None
        if is_python and any(word.endswith(b"runtimes/process.py") for word in words[1:5]):
            found.append(pid)
    return found


def main() -> None:
    directory, data, fields = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(os.environ.get(FIELDS, "{}"))
    if not (directory / "token").exists():
        with Mlgate(directory) as server:
            for model in FILES:
                server.deploy(data, model, fields=fields)
    (directory / "token").write_text(Mlgate(directory).token())


if __name__ == "__main__":
    main()
