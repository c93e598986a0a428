"""`mlgate versions create` with code of the user's own, from files on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tests.harness import Server
from tests.hosts.packages import source_archive, wheel

ROUTINE = """
import lengths

class Routine:
    def predict(self, instances, **kwargs):
        return [lengths.length(instance) for instance in instances]

    @classmethod
    def from_path(cls, model_dir):
        return cls()
"""


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


def test_a_custom_routine_is_staged_with_its_packages_and_predicts(ada: CommandLine, tmp_path: Path) -> None:
    bucket = f"gs://code-{os.getpid()}"
    ada.ok("storage", "buckets", "create", bucket)
    ada.ok("models", "create", "lengths")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("nothing to load")
    mine = source_archive(tmp_path / "mine-0.1.tar.gz", {"setup.py": "", "mine/main.py": ROUTINE})
    needed = wheel(tmp_path / "lengths-1-py3-none-any.whl", {"lengths.py": "def length(x): return len(x)"})
    words = (
        "versions", "create", "v1", "--model", "lengths", "--origin", str(tmp_path / "model"),
        "--prediction-class", "mine.main.Routine", "--package-uris",
    )  # fmt: skip
    assert "--staging-bucket" in ada.fails(*words, str(mine))
    assert "nor a file here" in ada.fails(*words, str(tmp_path / "none.whl"), "--staging-bucket", bucket)
    alone = ada.fails(*words, str(mine), "--staging-bucket", bucket)
    assert "mine.main.Routine needs the module 'lengths'" in alone
    ada.ok("versions", "delete", "v1", "--model", "lengths")
    made = ada.ok(*words, f"{mine},{needed}", "--staging-bucket", bucket)
    assert made.yaml["predictionClass"] == "mine.main.Routine"
    assert [uri.rpartition("/")[2] for uri in made.yaml["packageUris"]] == [mine.name, needed.name]
    said = ada.ok("predict", "--model", "lengths", "--json-instances", "-", input='"four"\n"fifth"\n')
    assert said.yaml["predictions"] == [4, 5]
