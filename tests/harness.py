"""A real server as a process of its own, for tests that speak to it over loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mlgate.app import admin
from mlgate.settings import Settings, load

OWNER = "user:ada@example.com"
PROJECT = "demo-project"
START_SECONDS = 90


def mlgate(*arguments: str, check: bool = True, env: dict[str, str] | None = None, **options: Any) -> Any:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "mlgate.cli.main", *arguments],
        check=check, capture_output=True, text=True, env={**os.environ, **(env or {})}, **options,
    )  # fmt: skip


#: What most tests do without, because it takes time at each start or deployment.
PLAIN = {
    "MLGATE_CONSOLE_PORT": "-1",
    "MLGATE_RUNNER_SLOTS": "-1",
    "MLGATE_MODEL_SPARES": "0",
    "MLGATE_FASTER_COPIES": "false",
}


@dataclass
class Server:
    """A server on a data directory of its own. `settings` are given as MLGATE_ environment variables."""

    data_dir: Path
    workers: int = 1
    database_url: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    project: str = PROJECT
    owner: str = OWNER
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    #: The beginning of a command that runs the rest of it.
    within: tuple[str, ...] = ()
    _tokens: dict[str, str] = field(default_factory=dict)
    _clients: list[Any] = field(default_factory=list)

    def _database(self) -> list[str]:
        return ["--database-url", self.database_url] if self.database_url else []

    def _told(self) -> Settings:
        """What `mlgate admin` is told. It is called in this process: a second of importing each time adds up."""
        return load({"data_dir": str(self.data_dir), "database_url": self.database_url or None})

    def initialize(self) -> Server:
        """As `mlgate admin init`."""
        admin.initialize(self._told(), self.owner, self.project)
        return self

    def start(self, port: int = 0) -> Server:
        """Start and wait until it answers."""
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        log = (self.data_dir / "server.log").open("ab")
        self.process = subprocess.Popen(
            [
                *self.within, sys.executable, "-m", "mlgate.cli.main", "serve", "--data-dir", str(self.data_dir),
                "--port", str(port), "--workers", str(self.workers), "--ready-file", str(ready), *self._database(),
            ],
            stdout=log, stderr=log, env={**os.environ, **PLAIN, **self.settings},
        )  # fmt: skip
        log.close()
        self.url = json.loads(_wait_for(ready, self.process, self.log))["url"]
        return self

    def log(self) -> str:
        return (self.data_dir / "server.log").read_text(errors="replace")

    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """kill -9 of the whole server."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def restart(self) -> Server:
        """Start again on the same port, after `stop` or `kill`."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        return self.start(self.port())

    def token(self, principal: str = OWNER, lifetime: str = "3600s") -> str:
        """A bearer token, remembered; another lifetime makes a new one."""
        if principal not in self._tokens or lifetime != "3600s":
            bearer, _ = admin.issue_token(self._told(), principal, float(lifetime.removesuffix("s")))
            if lifetime != "3600s":
                return bearer
            self._tokens[principal] = bearer
        return self._tokens[principal]

    def http(self, principal: str | None = OWNER) -> httpx.Client:
        """An HTTP client that bears the principal's token (none for None)."""
        headers = {"Authorization": f"Bearer {self.token(principal)}"} if principal else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=60)
        self._clients.append(client)
        return client

    def api(self, name: str, principal: str = OWNER, version: str = "v1") -> Any:
        """An unmodified google-api-python-client on this server."""
        import googleapiclient.discovery
        from google.oauth2.credentials import Credentials

        service = googleapiclient.discovery.build(
            name, version, credentials=Credentials(self.token(principal)), static_discovery=True,
            client_options={"api_endpoint": self.url},
        )  # fmt: skip
        self._clients.append(service)
        return service

    def close(self) -> None:
        """End the server, if it runs, and every client that was made here."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process is not None and self.process.poll() is None:
            self.stop()


def _wait_for(ready: Path, process: subprocess.Popen[bytes], log: Any) -> str:
    from time import monotonic, sleep

    until = monotonic() + START_SECONDS
    while monotonic() < until:
        if ready.exists():
            return ready.read_text()
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log()[-3000:]}")
        sleep(0.02)
    raise RuntimeError(f"the server did not start in {START_SECONDS} s:\n{log()[-3000:]}")
