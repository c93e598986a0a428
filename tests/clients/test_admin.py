"""`mlgate admin`, as it is typed. Other tests call what is behind it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests.harness import OWNER, PROJECT, Server, mlgate


def test_a_server_is_set_up_once_and_its_tokens_sign_in(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    made = mlgate("admin", "init", *where, "--owner", OWNER, "--project", PROJECT)
    assert PROJECT in made.stderr
    with pytest.raises(subprocess.CalledProcessError) as again:
        mlgate("admin", "init", *where, "--owner", OWNER, "--project", PROJECT)
    assert "initialized already" in again.value.stderr
    bearer = mlgate("admin", "token", *where, OWNER, "--lifetime", "60s").stdout.strip()
    server = Server(tmp_path / "data").start()
    try:
        answer = httpx.get(f"{server.url}/v1/projects/{PROJECT}/models", headers={"Authorization": f"Bearer {bearer}"})
        assert answer.status_code == 200
    finally:
        server.close()
