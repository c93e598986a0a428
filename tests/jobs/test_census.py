"""The guide's story of jobs, on the command line: a packaged program is tried at home, submitted, tuned over 12 trials,
its best model deployed from its job directory and asked, by one call and by a job."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlgate.cli.main import program
from tests.command_line import CommandLine
from tests.harness import PROJECT, Server
from tests.http.people import Api
from tests.jobs.programs import Lab

CENSUS = Path(__file__).parents[2] / "docs" / "census"
BUCKET = "census-files"
RUNTIME = ("--runtime-version", "2.11", "--python-version", "3.7")


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    root = tmp_path_factory.mktemp("census")
    server = Server(root / "data", settings={"MLGATE_RUNNER_SLOTS": "2"}).initialize().start()
    ada = CommandLine(server, root / "config")
    ada.ok("storage", "buckets", "create", f"gs://{BUCKET}")
    agent = ada.ok("projects", "describe", PROJECT).yaml["projectNumber"]
    member = f"serviceAccount:service-{agent}@cloud-ml.google.com.iam.gserviceaccount.com"
    ada.ok("storage", "buckets", "add-iam-policy-binding", f"gs://{BUCKET}", "--member", member,
           "--role", "roles/storage.objectAdmin")  # fmt: skip
    yield ada
    server.close()


@pytest.fixture(scope="module")
def data(ada: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 people, here and in the bucket."""
    made = subprocess.run(
        [sys.executable, "-m", "trainer.data", "300"], cwd=CENSUS, check=True, capture_output=True, text=True
    )
    file = tmp_path_factory.mktemp("data") / "census.csv"
    file.write_text(made.stdout)
    ada.ok("storage", "cp", str(file), f"gs://{BUCKET}/census.csv")
    return file


def submit(ada: CommandLine, job: str, *more: str) -> str:
    words = (
        "jobs", "submit", "training", job, "--package-path", str(CENSUS / "trainer"), "--module-name", "trainer.task",
        "--staging-bucket", f"gs://{BUCKET}", "--job-dir", f"gs://{BUCKET}/{job}", *RUNTIME, *more,
        "--", "--train-file", f"gs://{BUCKET}/census.csv",
    )  # fmt: skip
    return ada.ok(*words).stdout


def test_a_program_is_tried_at_home(data: Path, tmp_path: Path) -> None:
    words = ["local", "train", "--package-path", str(CENSUS / "trainer"), "--module-name", "trainer.task"]
    words += ["--job-dir", str(tmp_path / "out"), "--python", sys.executable, "--", "--train-file", str(data)]
    done = CliRunner().invoke(program, words)
    assert done.exit_code == 0, done.output
    (tmp_path / "people.json").write_text("[60, 16, 60, 0, 1, 0]\n[18, 5, 20, 0, 0, 0]\n")
    asked = [
        "local",
        "predict",
        "--model-dir",
        str(tmp_path / "out"),
        "--json-instances",
        str(tmp_path / "people.json"),
    ]
    answer = CliRunner().invoke(program, [*asked, "--format", "json"])
    assert json.loads(answer.stdout) == {"predictions": [">50K", "<=50K"]}
    failing = CliRunner().invoke(program, [*words[:-1], str(tmp_path / "nothing.csv")])
    assert failing.exit_code == 1


def test_it_is_submitted_watched_tuned_deployed_and_asked(ada: CommandLine, data: Path, tmp_path: Path) -> None:
    said = submit(ada, "census_one", "--stream-logs", "--labels", "team=blue")
    assert "accuracy 0." in said
    assert "state: SUCCEEDED" in said
    shown = ada.ok("jobs", "describe", "census_one").yaml
    assert (shown["labels"], shown["trainingInput"]["scaleTier"]) == ({"team": "blue"}, "BASIC")
    assert "census-0.1.tar.gz" in shown["trainingInput"]["packageUris"][0]
    again = ada.ok("jobs", "stream-logs", "census_one", "--task-name", "master-replica-0").stdout
    assert [line for line in again.splitlines() if "service" in line] == []
    assert ada.ok("jobs", "update", "census_one", "--update-labels", "stage=test").yaml["labels"] == {
        "team": "blue",
        "stage": "test",
    }

    with Api(ada.server) as api:
        lab = Lab(api, PROJECT)
        api.sign_in([lab.owner])
        submit(ada, "census_tuned", "--config", str(CENSUS / "tuning.yaml"))
        job = lab.wait("census_tuned", seconds=600)
        assert job["state"] == "SUCCEEDED", lab.log("census_tuned")
    trials = job["trainingOutput"]["trials"]
    values = [trial["finalMetric"]["objectiveValue"] for trial in trials]
    assert (len(values), values) == (12, sorted(values, reverse=True))
    best = trials[0]["trialId"]

    ada.ok("models", "create", "census")
    ada.ok("versions", "create", "v1", "--model", "census", "--origin", f"gs://{BUCKET}/census_tuned/{best}",
           "--framework", "scikit-learn", *RUNTIME)  # fmt: skip
    (tmp_path / "people.json").write_text("[60, 16, 60, 0, 1, 0]\n[18, 5, 20, 0, 0, 0]\n")
    answer = ada.ok("predict", "--model", "census", "--json-instances", str(tmp_path / "people.json"))
    assert answer.yaml["predictions"] == [">50K", "<=50K"]

    ada.ok("storage", "cp", str(tmp_path / "people.json"), f"gs://{BUCKET}/people/1.json")
    said = ada.ok("jobs", "submit", "prediction", "census_all", "--model", "census", "--data-format", "json",
                  "--input-paths", f"gs://{BUCKET}/people/*.json", "--output-path", f"gs://{BUCKET}/predicted",
                  "--stream-logs").stdout  # fmt: skip
    assert "1 of 1 shards are done: 2 predictions, 0 errors." in said
    results = ada.ok("storage", "cat", f"gs://{BUCKET}/predicted/prediction.results-00000-of-00001").stdout
    assert results == '">50K"\n"<=50K"\n'
    listed = ada.ok("jobs", "list", "--filter", "jobId:census*").stdout
    assert listed.count("SUCCEEDED") == 3


def test_what_is_wrong_is_said_before_anything_is_sent(ada: CommandLine, tmp_path: Path) -> None:
    words = ("jobs", "submit", "training", "nothing", "--module-name", "trainer.task", *RUNTIME)
    assert "give --staging-bucket" in ada.fails(*words, "--package-path", str(CENSUS / "trainer"))
    assert "no package of Python's" in ada.fails(*words, "--package-path", str(tmp_path))
    assert "cannot be read" in ada.fails(*words, "--packages", str(tmp_path / "x.whl"), "--staging-bucket", "gs://bbb")
    assert "packageUris is required" in ada.fails(*words)
    (tmp_path / "job.yaml").write_text("- a\n")
    assert "holds no job" in ada.fails(*words, "--config", str(tmp_path / "job.yaml"))


def test_a_job_that_fails_under_stream_logs_fails_the_command(ada: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("")
    (tmp_path / "broken" / "task.py").write_text("raise RuntimeError('as ever')")
    said = ada.fails(
        "jobs", "submit", "training", "broken", "--package-path", str(tmp_path / "broken"), "--module-name",
        "broken.task", "--staging-bucket", f"gs://{BUCKET}", *RUNTIME, "--stream-logs",
    )  # fmt: skip
    assert "The job is FAILED" in said
    assert "RuntimeError: as ever" in said


def test_a_job_is_cancelled(ada: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "__init__.py").write_text("")
    (tmp_path / "long" / "task.py").write_text("import time; time.sleep(600)")
    said = ada.ok(
        "jobs", "submit", "training", "long", "--package-path", str(tmp_path / "long"), "--module-name", "long.task",
        "--staging-bucket", f"gs://{BUCKET}", *RUNTIME,
    )  # fmt: skip
    assert said.yaml["jobId"] == "long"
    assert "mlgate jobs stream-logs long" in said.stderr
    ada.ok("jobs", "cancel", "long")
    ada.ok("jobs", "stream-logs", "long")
    assert ada.ok("jobs", "describe", "long").yaml["state"] == "CANCELLED"
