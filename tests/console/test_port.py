"""The port of the console when something else listens there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import typer

from mlgate.cli import admin
from mlgate.core.errors import FailedPrecondition
from mlgate.serve import Supervisor
from mlgate.settings import Settings
from tests.harness import PLAIN, Server

DEFAULT = Settings().console_port


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Server(tmp_path_factory.mktemp("port") / "data").initialize().data_dir


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def plain() -> Iterator[dict[str, str]]:
    """An environment in which nobody names a port, while the usual one is taken, by us or by others."""
    with socket.socket() as listening:
        with suppress(OSError):
            listening.bind(("127.0.0.1", DEFAULT))
            listening.listen()
        settings = {k: v for k, v in PLAIN.items() if k != "MLGATE_CONSOLE_PORT"}
        yield {**{k: v for k, v in os.environ.items() if not k.startswith("MLGATE_")}, **settings}


def test_it_takes_any_free_one_where_nobody_names_one(data: Path, tmp_path: Path, plain: dict[str, str]) -> None:
    ready = tmp_path / "ready.json"
    words = ["serve", "--data-dir", str(data), "--port", "0", "--workers", "1", "--ready-file", str(ready)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "mlgate.cli.main", *words], stderr=log, stdout=log, env=plain)
    try:
        until = time.monotonic() + 120
        while not ready.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        said = (tmp_path / "log").read_text()
        console = json.loads(ready.read_text())["console"]
        assert not console.endswith(f":{DEFAULT}")
        assert f'"port": {console.rpartition(":")[2]}' in said
        assert f"Cannot listen on 127.0.0.1:{DEFAULT}" in said
        assert httpx.get(f"{console}/healthz", timeout=120).status_code < 500
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.parametrize(
    ("flag", "variable", "url", "anywhere"),
    [
        (None, "", "", True),
        (DEFAULT, "", "", False),
        (None, str(DEFAULT), "", False),
        (None, "", "https://console.example.com", False),
    ],
    ids=["nobody", "a flag", "a variable", "the address of a proxy"],
)
def test_who_names_it(
    flag: int | None, variable: str, url: str, anywhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    class Told:
        def __init__(self, settings: Settings, ready_file: Path | None, *, console_anywhere: bool) -> None:
            told.append(console_anywhere)

        def run(self) -> int:
            return 0

    monkeypatch.setattr("mlgate.serve.Supervisor", Told)
    monkeypatch.setattr("mlgate.logs.configure", lambda *_, **__: None)
    for name, value in (("MLGATE_CONSOLE_PORT", variable), ("MLGATE_CONSOLE_URL", url)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(typer.Exit):
        admin.serve(data_dir=str(tmp_path), console_port=flag)
    assert told == [anywhere]


def test_a_port_that_was_named_is_insisted_upon(taken: int) -> None:
    named = Supervisor(Settings(console_port=taken), None)
    with pytest.raises(FailedPrecondition, match=f":{taken}: .*MLGATE_CONSOLE_PORT names another"):
        named._listen_for_console()
