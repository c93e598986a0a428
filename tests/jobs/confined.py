"""A confined job without a keeper: a program in the real sandbox, with a real gateway to a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlgate.adapters.hosts.sandbox import JobLimits, Sandbox, interpreter
from mlgate.adapters.runners.gateway import Gateway

SECONDS = 120
ACCOUNT, PROJECT = "job@demo-project.iam.gserviceaccount.com", "demo-project"


@dataclass
class ConfinedJob:
    """One job: `run` runs a program in it to its end, `start` begins one."""

    sandbox: Sandbox
    folder: Path
    upstream: str
    token: str
    python: str = sys.executable
    public_url: str = ""
    open_to: Iterable[str] = ()
    limits: JobLimits = field(default_factory=JobLimits)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for above in [self.folder, *self.folder.parents[:3]]:
            above.chmod(above.stat().st_mode | 0o011)  # pytest's folders are for their owner alone
        for name in ("work", "temporary", "gateway"):
            (self.folder / name).mkdir()
        self._stack = ExitStack()
        self.gateway = Gateway(
            self.upstream, lambda: self.token, account=ACCOUNT, project=PROJECT, directory=self.folder / "gateway",
            public_url=self.public_url, open_to=self.open_to, mode=self.sandbox.mode,
        )  # fmt: skip

    def __enter__(self) -> ConfinedJob:
        self.gateway.start()
        self._stack.callback(self.gateway.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def start(self, arguments: Sequence[str], read: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        python = interpreter(self.python)
        temporary = str(self.folder / "temporary")
        command = self.sandbox.job_command(
            python, list(arguments), read=[*read, *self.gateway.read], work=str(self.work), temporary=temporary,
            limits=self.limits, door=self.gateway.door(),
        )  # fmt: skip
        environ = self.sandbox.job_environment(python, str(self.work), temporary) | self.gateway.environment()
        process = subprocess.Popen(
            command, env=environ | environment, cwd=self.work, pass_fds=self.gateway.pass_fds, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        return process

    def run(self, code: str, *arguments: Any, read: Sequence[str] = (), **environment: str) -> str:
        """What the code printed; it must end well."""
        return self.call(["-c", code, *map(str, arguments)], read, **environment)

    def call(self, command: Sequence[str], read: Sequence[str] = (), **environment: str) -> str:
        process = self.start(command, read, **environment)
        out, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, f"ended with {process.returncode}:\n{out[-2000:]}\n{errors[-6000:]}"
        return out


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also what it left behind
    process.communicate(timeout=SECONDS)
