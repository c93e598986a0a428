"""`mlgate storage`, `versions` and `predict` against a real server: bytes up and down, deployments, predictions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mlgate.cli import transfers
from mlgate.cli.client import Client
from tests.command_line import CommandLine
from tests.harness import Server


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


@pytest.fixture
def bucket(ada: CommandLine, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own, as gs://NAME."""
    name = f"gs://b-{os.getpid()}-{abs(hash(request.node.name)) % 10**8}"
    ada.ok("storage", "buckets", "create", name)
    return name


def test_a_file_comes_back_as_it_went(ada: CommandLine, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 40)
    ada.ok("storage", "cp", str(tmp_path / "a.bin"), f"{bucket}/dir/")
    assert ada.ok("storage", "ls", f"{bucket}/dir").stdout == f"{bucket}/dir/a.bin\n"
    ada.ok("storage", "cp", f"{bucket}/dir/a.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "a.bin").read_bytes()
    ada.ok("storage", "rm", f"{bucket}/dir/a.bin")
    assert "NOT_FOUND" in ada.fails("storage", "cat", f"{bucket}/dir/a.bin")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_large_file_goes_in_chunks(
    ada: CommandLine, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_CHUNK", 256 << 10)
    (tmp_path / "large").write_bytes(os.urandom((1 << 20) + 12345))
    log = ada.ok("storage", "cp", str(tmp_path / "large"), f"{bucket}/large", "--log-http").stderr
    assert log.count("=== request: PUT ") == 5
    assert "upload_id=--- redacted" in log
    ada.ok("storage", "cp", f"{bucket}/large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()


def test_an_upload_goes_on_after_a_broken_connection(
    ada: CommandLine, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_CHUNK", 256 << 10)
    monkeypatch.setattr(transfers.time, "sleep", lambda seconds: None)
    real, broken = Client.send, []

    def send(self, row, path, query=None, content=None, headers=None):  # type: ignore[no-untyped-def]
        answer = real(self, row, path, query, content, headers)
        if row.http == "PUT" and content and len(broken) < 2:
            broken.append(1)
            raise transfers.Failure("UNAVAILABLE", "the answer was lost")
        return answer

    monkeypatch.setattr(Client, "send", send)
    data = os.urandom(1 << 20)
    (tmp_path / "large").write_bytes(data)
    ada.ok("storage", "cp", str(tmp_path / "large"), f"{bucket}/large")
    assert len(broken) == 2
    ada.ok("storage", "cp", f"{bucket}/large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_directories_are_copied_up_across_and_down(ada: CommandLine, bucket: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_text("a")
    (tree / "sub" / "b").write_text("b")
    assert "use -r" in ada.fails("storage", "cp", str(tree), f"{bucket}/x")
    ada.ok("storage", "cp", "-r", str(tree), f"{bucket}/x")
    assert ada.ok("storage", "ls", bucket).stdout == f"{bucket}/x/\n"
    assert ada.ok("storage", "ls", f"{bucket}/x").stdout.splitlines() == [f"{bucket}/x/a", f"{bucket}/x/sub/"]
    ada.ok("storage", "cp", "-r", f"{bucket}/x", f"{bucket}/y")
    assert ada.ok("storage", "ls", "-r", f"{bucket}/y").stdout.split() == [f"{bucket}/y/a", f"{bucket}/y/sub/b"]
    ada.ok("storage", "cp", "-r", f"{bucket}/y", str(tmp_path / "out"))
    assert (tmp_path / "out" / "a").read_text() == "a"
    assert (tmp_path / "out" / "sub" / "b").read_text() == "b"
    ada.ok("storage", "rm", "-r", bucket)
    assert f"{bucket}/\n" not in ada.ok("storage", "ls").stdout


def test_standard_input_and_output_are_files_too(ada: CommandLine, bucket: str) -> None:
    ada.ok("storage", "cp", "-", f"{bucket}/said", input="hello\n")
    assert ada.ok("storage", "cat", f"{bucket}/said").stdout == "hello\n"
    assert ada.ok("storage", "cp", f"{bucket}/said", "-").stdout == "hello\n"


def test_an_object_name_cannot_lead_out_of_the_destination(ada: CommandLine, bucket: str, tmp_path: Path) -> None:
    ada.ok("storage", "cp", "-", f"{bucket}/d/ok", input="x")
    bucket_id = bucket.removeprefix("gs://")
    with ada.server.http() as http:
        http.post(
            f"/upload/storage/v1/b/{bucket_id}/o?uploadType=media&name=d%2F..%2F..%2Fevil", content=b"x"
        ).raise_for_status()
    target = tmp_path / "in" / "here"
    target.mkdir(parents=True)
    assert "cannot be a file below" in ada.fails("storage", "cp", "-r", f"{bucket}/d", str(target))
    assert not list(tmp_path.rglob("evil"))


def test_names_with_odd_characters_survive(ada: CommandLine, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "ü b&c+d:e%.txt").write_text("odd")
    ada.ok("storage", "cp", str(tmp_path / "ü b&c+d:e%.txt"), f"{bucket}/")
    assert ada.ok("storage", "cat", f"{bucket}/ü b&c+d:e%.txt").stdout == "odd"


def test_a_local_model_is_staged_deployed_and_predicts(ada: CommandLine, bucket: str, tmp_path: Path) -> None:
    features = np.arange(12.0).reshape(6, 2)
    joblib.dump(LinearRegression().fit(features, features.sum(axis=1)), tmp_path / "model.joblib")
    origin = tmp_path / "origin"
    origin.mkdir()
    (tmp_path / "model.joblib").rename(origin / "model.joblib")
    ada.ok("models", "create", "sums")
    assert "--staging-bucket" in ada.fails("versions", "create", "v1", "--model", "sums", "--origin", str(origin))
    made = ada.ok(
        "versions", "create", "v1", "--model", "sums", "--origin", str(origin), "--staging-bucket", bucket,
        "--framework", "scikit-learn",
    )  # fmt: skip
    assert made.yaml["state"] == "READY"
    (tmp_path / "lines").write_text("[1, 2]\n[3, 4]\n")
    (tmp_path / "list").write_text("[[1, 2], [3, 4]]")
    (tmp_path / "request").write_text('{"instances": [[1, 2], [3, 4]]}')
    for option, file in (("--json-instances", "lines"), ("--json-instances", "list"), ("--json-request", "request")):
        for version in ((), ("--version", "v1")):
            words = ("predict", "--model", "sums", *version, option, str(tmp_path / file), "--format", "json")
            assert ada.ok(*words).json["predictions"] == pytest.approx([3, 7])
    piped = ada.ok("predict", "--model", "sums", "--json-instances", "-", input="[5, 6]\n")
    assert piped.yaml["predictions"] == pytest.approx([11])
    assert "Give one of" in ada.fails("predict", "--model", "sums")
    assert "(mlgate.predict)" in ada.fails("predict", "--model", "sums", "--json-instances", "-", input='"text"\n')
    listed = ada.ok("versions", "list", "--model", "sums").stdout.splitlines()
    assert listed[1].split()[0] == "v1"
    ada.ok("versions", "update", "v1", "--model", "sums", "--description", "the first")
    assert ada.ok("versions", "set-default", "v1", "--model", "sums").yaml["isDefault"] is True
    ada.ok("versions", "delete", "v1", "--model", "sums")


def test_a_version_that_cannot_load_fails_with_the_reason(ada: CommandLine, bucket: str) -> None:
    ada.ok("models", "create", "broken")
    ada.ok("storage", "cp", "-", f"{bucket}/m/readme.txt", input="no model")
    words = ("versions", "create", "v1", "--model", "broken", "--origin", f"{bucket}/m")
    started = ada.ok(*words, "--async").yaml
    assert started["metadata"]["operationType"] == "CREATE_VERSION"
    said = ada.fails("operations", "wait", started["name"])
    assert said.splitlines()[-1].startswith("ERROR: (mlgate.operations.wait) FAILED_PRECONDITION: Model file not found")
    assert ada.ok("versions", "describe", "v1", "--model", "broken").yaml["state"] == "FAILED"
    assert (
        json.loads(ada.ok("versions", "list", "--model", "broken", "--format", "json").stdout)[0]["state"] == "FAILED"
    )
