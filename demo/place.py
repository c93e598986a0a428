"""A server of the demo's own, in a fresh directory, and everything that must be gone when the demo is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

MLGATE = (sys.executable, "-m", "mlgate.cli.main")
OWNER, PROJECT = "user:ada@example.com", "demo-project"
_START_SECONDS, _STOP_SECONDS = 60, 30


def clean_environment() -> dict[str, str]:
    """The environment without settings of mlgate: the demo must not depend on, or touch, a person's own."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MLGATE_")}


@dataclass
class Place:
    """Where the demo happens."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mlgate-demo-")))
    url: str = ""
    sandbox: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def initialize(self) -> None:
        command = [*MLGATE, "admin", "init", "--data-dir", str(self.data), "--owner", OWNER, "--project", PROJECT]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())

    def token(self, principal: str) -> str:
        """What `mlgate admin token` prints, without a process for each."""
        from mlgate import settings
        from mlgate.app import admin

        return admin.issue_token(settings.load({"data_dir": str(self.data)}, {}), principal, 3600.0)[0]

    def serve(self, **settings: str) -> None:
        """Start the server; `ready` waits for it."""
        self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *MLGATE, "serve", "--data-dir", str(self.data), "--port", "0", "--console-port", "-1",
                    "--ready-file", str(self.ready_file),
                ],
                env={**clean_environment(), **settings}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    @property
    def ready_file(self) -> Path:
        return self.root / "ready.json"

    def ready(self) -> None:
        """Wait until the server answers, and see how it confines model code."""
        until = time.monotonic() + _START_SECONDS
        while not self.ready_file.exists():
            if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"The server did not start:\n{self.log_end()}")
            time.sleep(0.02)
        self.url = json.loads(self.ready_file.read_text())["url"]
        with build_opener(ProxyHandler({})).open(f"{self.url}/healthz") as answer:
            self.sandbox = json.load(answer).get("sandbox", {}).get("mode", "")

    def restart_without_sandbox(self) -> None:
        self.stop()
        self.serve(MLGATE_SANDBOX="off")
        self.ready()

    def log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)
