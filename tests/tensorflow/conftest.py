"""These tests need an environment with TensorFlow, half a gigabyte: `make test-tensorflow` builds it and runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlgate.adapters.environments.builder import Builder
from mlgate.adapters.environments.environments import UvEnvironments

collect_ignore_glob = [] if os.environ.get("MLGATE_TENSORFLOW") else ["*"]
RUNTIMES = [("3.0", "3.11"), ("2.12", "3.11")]


@pytest.fixture(scope="module", params=RUNTIMES, ids=lambda runtime: runtime[0])
def python(request: pytest.FixtureRequest) -> str:
    builder = Builder(Path(os.environ["MLGATE_TENSORFLOW"]).resolve())
    return UvEnvironments(builder, own=False).python(*request.param, "TENSORFLOW").python


@pytest.fixture(scope="module")
def models(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    subprocess.run([python, str(Path(__file__).parent / "train.py"), str(folder)], check=True, capture_output=True)
    return folder
