"""The command line as tests run it: in this process, with an environment and a configuration directory of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from mlgate.cli.main import program
from tests.harness import OWNER, PROJECT, Server


@dataclass
class Answer:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def yaml(self) -> Any:
        return yaml.safe_load(self.stdout)

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class CommandLine:
    """`mlgate` for one person on one server. `environment` replaces MLGATE_* wholly."""

    server: Server
    home: Path
    principal: str = OWNER
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            "MLGATE_SERVER": self.server.url,
            "MLGATE_PROJECT": PROJECT,
            "MLGATE_TOKEN": self.server.token(self.principal),
            "XDG_CONFIG_HOME": str(self.home),
        }

    def run(self, *words: str, input: str | bytes | None = None) -> Answer:
        with _environment(self.environment):
            done = CliRunner().invoke(program, list(words), input=input, prog_name="mlgate", catch_exceptions=False)
        return Answer(done.exit_code, done.stdout, done.stderr)

    def ok(self, *words: str, input: str | bytes | None = None) -> Answer:
        """A command that must succeed."""
        answer = self.run(*words, input=input)
        assert answer.exit_code == 0, (words, answer.stdout, answer.stderr)
        return answer

    def fails(self, *words: str, input: str | bytes | None = None) -> str:
        """What a command that must fail says."""
        answer = self.run(*words, input=input)
        assert answer.exit_code == 1, (words, answer.exit_code, answer.stdout, answer.stderr)
        return answer.stderr

    def without(self, *variables: str) -> CommandLine:
        """The same person without some environment variables."""
        other = CommandLine(self.server, self.home, self.principal)
        other.environment = {k: v for k, v in self.environment.items() if k not in variables}
        return other


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MLGATE_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
