"""Load on one address for a while: by wrk where it is installed, else by load.py. One loader for a whole run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.serving.processes import pin

_SCRIPT = Path(__file__).parent / "wrk.lua"


@dataclass(frozen=True)
class Load:
    """What happened: requests answered with success, in how many seconds, what went wrong, and how long it took."""

    answered: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Loader:
    name: str
    core: int

    def run(self, url: str, body: Path, token: str, connections: int, seconds: float) -> Load:
        """Send the body again and again on that many connections. Raises RuntimeError when nothing was measured."""
        run = self._wrk if self.name.startswith("wrk") else self._own
        return run(url, body, token, connections, seconds)

    def _wrk(self, url: str, body: Path, token: str, connections: int, seconds: float) -> Load:
        environ = {**os.environ, "SERVING_BODY": str(body), **({"SERVING_TOKEN": token} if token else {})}
        duration = f"{max(1, round(seconds))}s"
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{duration}", "--timeout", "20s", "-s", str(_SCRIPT), url],
            env=environ, capture_output=True, text=True, check=False, preexec_fn=lambda: pin(self.core),
        )  # fmt: skip
        line = re.search(r"^MEASURED (.*)$", done.stdout, re.MULTILINE)
        if not line:
            raise RuntimeError(f"wrk measured nothing: {(done.stderr or done.stdout).strip()[-300:]}")
        return Load(**json.loads(line[1]))

    def _own(self, url: str, body: Path, token: str, connections: int, seconds: float) -> Load:
        plan = {
            "url": url, "connections": connections, "seconds": seconds, "warmup": 0, "body": body.read_text(),
            "cpu": self.core, "headers": {"Authorization": f"Bearer {token}"} if token else {},
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "bench.serving.load"],
            input=json.dumps(plan),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"bench.serving.load measured nothing: {done.stderr.strip()[-300:]}")
        measured = json.loads(done.stdout)
        answered = round(measured["per_second"] * seconds)
        return Load(answered, seconds, measured["errors"], measured["p50_ms"], measured["p99_ms"])


def loader(core: int) -> Loader:
    """The best one that is here."""
    if shutil.which("wrk"):
        said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
        version = re.search(r"wrk \S*?(\d+(?:\.\d+)+)", said.stdout + said.stderr)
        return Loader(f"wrk {version[1]}" if version else "wrk", core)
    return Loader("bench/serving/load.py", core)
