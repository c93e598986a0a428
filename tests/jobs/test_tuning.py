"""Tuning on a real server: trials in parallel, their metrics, early stopping, resuming, killed runners."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from mlgate.core import summaries, tuning
from mlgate.core.errors import InvalidArgument
from tests.harness import Server
from tests.http.people import Api, error_of
from tests.jobs.programs import RUNTIME, Lab
from tests.jobs.test_recovery import kill_runner, pid_of


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = {"MLGATE_RUNNER_SLOTS": "4", "MLGATE_LEASE_SECONDS": "3"}
    server = Server(tmp_path_factory.mktemp("tuning") / "data", settings=settings)
    with Api(server.initialize().start()) as api:
        yield Lab(api, "jobs-tuning").make()
    server.close()


BOWL = """
import argparse, os, time, hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float); parser.add_argument("--depth", type=int); parser.add_argument("--kind")
parser.add_argument("--job-dir"); parser.add_argument("--seconds", type=float, default=0)
given = parser.parse_args()
print("trial", os.environ["CLOUD_ML_TRIAL_ID"], "in", given.job_dir, flush=True)
assert given.kind in ("a", "b") and 1 <= given.depth <= 3
time.sleep(given.seconds)
loss = (given.x - 2) ** 2 + given.depth + (given.kind == "b")
hypertune.HyperTune().report_hyperparameter_tuning_metric("loss", loss, global_step=10)
"""
PARAMS = [
    {"parameterName": "x", "type": "DOUBLE", "minValue": 0, "maxValue": 10, "scaleType": "UNIT_LINEAR_SCALE"},
    {"parameterName": "depth", "type": "INTEGER", "minValue": 1, "maxValue": 3},
    {"parameterName": "kind", "type": "CATEGORICAL", "categoricalValues": ["a", "b"]},
]
SPEC: dict[str, Any] = {
    "goal": "MINIMIZE", "hyperparameterMetricTag": "loss", "maxTrials": 6, "maxParallelTrials": 3, "params": PARAMS,
    "algorithm": "RANDOM_SEARCH",
}  # fmt: skip


def check_sorted(job: dict[str, Any], count: int) -> list[dict[str, Any]]:
    output = job["trainingOutput"]
    trials: list[dict[str, Any]] = output["trials"]
    assert (output["isHyperparameterTuningJob"], output["completedTrialCount"]) == (True, str(count))
    assert output["hyperparameterMetricTag"] == "loss"
    values = [trial["finalMetric"]["objectiveValue"] for trial in trials]
    assert values == sorted(values)
    return trials


def test_trials_run_and_the_best_comes_first(lab: Lab) -> None:
    job = lab.run(BOWL, hyperparameters=SPEC, jobDir=f"gs://{lab.bucket}/bowl")
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    trials = check_sorted(job, 6)
    assert sorted(trial["trialId"] for trial in trials) == [str(n) for n in range(1, 7)]
    for trial in trials:
        values = trial["hyperparameters"]
        loss = (float(values["x"]) - 2) ** 2 + int(values["depth"]) + (values["kind"] == "b")
        assert trial["finalMetric"]["objectiveValue"] == pytest.approx(loss)
        assert (trial["finalMetric"]["trainingStep"], trial["state"]) == ("10", "SUCCEEDED")
        assert trial["startTime"] < trial["endTime"]
    entries = lab.entries(job["jobId"], 'resource.labels.task_name="master-replica-0"')
    said = {e["labels"]["ml.googleapis.com/trial_id"]: e["textPayload"] for e in entries if "trial" in e["textPayload"]}
    assert said == {str(n): f"trial {n} in gs://{lab.bucket}/bowl/{n}" for n in range(1, 7)}


def test_the_bayesian_default_is_asked(lab: Lab) -> None:
    spec = {**SPEC, "algorithm": "ALGORITHM_UNSPECIFIED", "maxTrials": 4, "maxParallelTrials": 1}
    job = lab.run(BOWL, hyperparameters=spec)
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    check_sorted(job, 4)


def test_a_grid_ends_when_every_point_was_tried(lab: Lab) -> None:
    params = [{"parameterName": "depth", "type": "INTEGER", "minValue": 1, "maxValue": 2}, PARAMS[2]]
    spec = {**SPEC, "algorithm": "GRID_SEARCH", "maxTrials": 9, "params": params}
    job = lab.run(BOWL, "--x", "2", hyperparameters=spec)
    trials = check_sorted(job, 4)
    tried = {(trial["hyperparameters"]["depth"], trial["hyperparameters"]["kind"]) for trial in trials}
    assert tried == {("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")}


def test_trials_that_fail_fail_the_job_once_there_are_too_many(lab: Lab) -> None:
    job = lab.run("raise SystemExit(5)", hyperparameters={**SPEC, "maxFailedTrials": 2, "maxParallelTrials": 1})
    assert job["state"] == "FAILED"
    assert "Too many trials failed: 2 of 2" in job["errorMessage"]
    assert "non-zero status of 5" in job["errorMessage"]
    assert [trial["state"] for trial in job["trainingOutput"]["trials"]] == ["FAILED", "FAILED"]


CURVE = """
import argparse, time, hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--quality", type=int)
quality = parser.parse_args().quality
report = hypertune.HyperTune().report_hyperparameter_tuning_metric
for step in range(1, 5 if quality else 500):
    report("score", float(quality * step), step)
    time.sleep(0.01 if quality else 0.3)
"""


def test_a_trial_that_is_not_worth_its_steps_is_stopped_early(lab: Lab) -> None:
    params = [{"parameterName": "quality", "type": "DISCRETE", "discreteValues": [0, 5, 6, 7, 8]}]
    spec = {
        "hyperparameterMetricTag": "score", "maxTrials": 5, "maxParallelTrials": 5, "params": params,
        "algorithm": "GRID_SEARCH", "enableTrialEarlyStopping": True,
    }  # fmt: skip
    job = lab.run(CURVE, hyperparameters=spec)
    assert job["state"] == "SUCCEEDED", lab.log(job["jobId"])
    stopped = {t["hyperparameters"]["quality"]: t.get("isTrialStoppedEarly") for t in job["trainingOutput"]["trials"]}
    assert stopped == {"8": None, "7": None, "6": None, "5": None, "0": True}


def test_cancel_stops_all_trials(lab: Lab) -> None:
    job_id = lab.submit(BOWL, "--seconds", "600", hyperparameters=SPEC)
    lab.until_line(job_id, "trial 2")
    lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {})
    job = lab.wait(job_id)
    assert job["state"] == "CANCELLED"
    assert {trial["state"] for trial in job["trainingOutput"]["trials"]} == {"CANCELLED"}
    assert lab.run("print(1)")["state"] == "SUCCEEDED"  # and their slots are free again


def test_trials_survive_the_death_of_their_runner(lab: Lab) -> None:
    job_id = lab.submit(BOWL, "--seconds", "1.5", hyperparameters=SPEC)
    lab.until_line(job_id, "trial 1")
    kill_runner(lab)
    pid_of(lab, "runner")
    lab.until_line(job_id, "trial 4")
    kill_runner(lab)
    job = lab.wait(job_id)
    assert job["state"] == "SUCCEEDED", lab.log(job_id)
    check_sorted(job, 6)
    lines = [line for line in lab.lines(job_id) if line.startswith("trial ")]
    assert len(lines) == 6


def test_a_job_resumes_another(lab: Lab) -> None:
    first = lab.run(BOWL, hyperparameters={**SPEC, "maxTrials": 2})["jobId"]
    job = lab.run(BOWL, hyperparameters={**SPEC, "maxTrials": 2, "resumePreviousJobId": first})
    assert sorted(trial["trialId"] for trial in check_sorted(job, 2)) == ["3", "4"]
    others = [{**PARAMS[0], "maxValue": 5}, *PARAMS[1:]]
    for change, code in (
        ({"resumePreviousJobId": "nobody"}, 404),
        ({"resumePreviousJobId": first, "params": others}, 400),
        ({"resumePreviousJobId": lab.run("print(1)")["jobId"]}, 400),
    ):
        given = {
            "scaleTier": "BASIC", "region": "us-central1", "pythonModule": "trainer.task", **RUNTIME,
            "packageUris": [lab.package(BOWL)], "hyperparameters": {**SPEC, **change},
        }  # fmt: skip
        response = lab.api(lab.owner, "POST", f"{lab.path}/jobs", {"jobId": "resumes", "trainingInput": given})
        assert error_of(response)["code"] == code, response.text


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("maxTrials", {"maxTrials": 0}),
        ("maxTrials", {"maxTrials": 1001}),
        ("maxParallelTrials", {"maxParallelTrials": -1}),
        ("maxFailedTrials", {"maxFailedTrials": -1}),
        ("params", {"params": []}),
        ("params[0]", {"params": [{"parameterName": "x", "type": "DOUBLE", "minValue": 3, "maxValue": 1}]}),
        ("params", {"params": [PARAMS[0], PARAMS[0]]}),
        ("params[0]", {"params": [{**PARAMS[0], "scaleType": "UNIT_LOG_SCALE"}]}),
        ("params", {"params": [{"parameterName": "n", "type": "INTEGER", "minValue": 0.5, "maxValue": 3}]}),
        ("params[0]", {"params": [{"parameterName": "k", "type": "DISCRETE", "discreteValues": [2, 1]}]}),
        ("algorithm", {"algorithm": "GRID_SEARCH"}),
    ],
)
def test_a_spec_that_is_wrong_is_refused(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        tuning.check({**SPEC, **change})
    assert caught.value.fields[0][0].startswith(f"job.trainingInput.hyperparameters.{field}"), caught.value.fields


def test_what_is_not_a_report_is_left_out() -> None:
    good = {"timestamp": 1.5, "loss": "0.25", "global_step": "3"}
    lines = [
        json.dumps(good),
        "{",
        "[]",
        "7",
        json.dumps({**good, "loss": "nan"}),
        json.dumps({**good, "global_step": -1}),
        "",
    ]
    assert tuning.reported("\n".join(lines).encode() + b"\xff\xfe", "loss") == [(3, 1.5, 0.25)]


# summaries of TensorFlow


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def part(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(step: int, value: bytes) -> bytes:
    body = b"\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(step) + part(5, part(1, value))
    return struct.pack("<Q", len(body)) + b"\0\0\0\0" + body + b"\0\0\0\0"


def test_scalars_of_event_files_are_read() -> None:
    old = event(1, part(1, b"acc") + b"\x15" + struct.pack("<f", 0.5))
    tensor = b"\x08\x01" + part(2, b"") + part(4, struct.pack("<f", 0.75))
    new = event(300, part(1, b"acc") + part(8, tensor))
    other = event(2, part(1, b"loss") + b"\x15" + struct.pack("<f", 9.0))
    data = old + other + new
    assert summaries.scalars(data, "acc") == [(1, 1.5, 0.5), (300, 1.5, 0.75)]
    for cut in range(len(data)):
        assert len(summaries.scalars(data[:cut], "acc")) <= 2
    for at in range(len(data)):
        summaries.scalars(data[:at] + b"\xff" + data[at + 1 :], "acc")
