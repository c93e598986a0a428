"""A tuning job of a Keras program: TensorFlow's summaries in the trials' job directories are its measurements."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server
from tests.http.deployed import share
from tests.http.people import Api
from tests.jobs.programs import Lab

#: Fits y = 3x and writes the loss under the tag that is tuned for, and the model, both to gs://.
PROGRAM = """
import argparse, json, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--job-dir", required=True)
parser.add_argument("--rate", type=float, required=True)
given = parser.parse_args()
trial = json.loads(os.environ["TF_CONFIG"])["task"].get("trial", "")
assert given.job_dir.endswith("/" + trial), (given.job_dir, trial)
x = tf.constant([[1.0], [2.0], [3.0], [4.0]])
weight = tf.Variable([[0.0]])
with tf.summary.create_file_writer(given.job_dir + "/eval").as_default():
    for step in range(1, 6):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ weight - 3 * x) ** 2)
        weight.assign_sub(given.rate * tape.gradient(loss, weight))
        tf.summary.scalar("fit", loss, step=step)
        tf.summary.scalar("other", 0.0, step=step)
module = tf.Module()
module.weight = weight
tf.saved_model.save(module, given.job_dir + "/export")
print("ended with", float(loss), flush=True)
"""
SPEC = {
    "goal": "MINIMIZE",
    "hyperparameterMetricTag": "fit",
    "maxTrials": "3",
    "maxParallelTrials": "1",
    "algorithm": "GRID_SEARCH",
    "params": [{"parameterName": "rate", "type": "DISCRETE", "discreteValues": [0.001, 0.01, 0.06]}],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = {
        "MLGATE_RUNNER_SLOTS": "2", "MLGATE_OWN_RUNTIME": "false", "MLGATE_JOB_MEMORY": str(32 << 30),
        "MLGATE_RUNTIMES_DIR": str(Path(os.environ["MLGATE_TENSORFLOW"]).resolve()),
    }  # fmt: skip
    server = Server(tmp_path_factory.mktemp("tuning") / "data", settings=settings)
    with Api(server.initialize().start()) as api:
        lab = Lab(api, "jobs-tensorflow").make()
        number = api.done(lab.owner, "GET", lab.path)["projectNumber"]
        agent = f"serviceAccount:service-{number}@cloud-ml.google.com.iam.gserviceaccount.com"
        share(api, f"/storage/v1/b/{lab.bucket}", "roles/storage.objectAdmin", agent)
        yield lab
    server.close()


def test_trials_are_measured_by_the_summaries_that_tensorflow_writes(lab: Lab) -> None:
    job_id = lab.submit(
        PROGRAM, jobDir=f"gs://{lab.bucket}/tuned", hyperparameters=SPEC, runtimeVersion="2.12", pythonVersion="3.11"
    )
    job = lab.wait(job_id, seconds=600)
    assert job["state"] == "SUCCEEDED", f"{job}\n{lab.log(job_id)}"
    trials = job["trainingOutput"]["trials"]
    rates = [float(trial["hyperparameters"]["rate"]) for trial in trials]
    values = [trial["finalMetric"]["objectiveValue"] for trial in trials]
    assert sorted(rates) == [0.001, 0.01, 0.06]
    assert values == sorted(values)
    for rate, value, trial in zip(rates, values, trials, strict=True):
        assert value == pytest.approx(67.5 * (1 - 15 * rate) ** 8, rel=1e-3, abs=1e-4)
        assert trial["finalMetric"]["trainingStep"] == "5"
    listed = lab.api.done(lab.owner, "GET", f"/storage/v1/b/{lab.bucket}/o?prefix=tuned/")["items"]
    names = {each["name"] for each in listed}
    assert {f"tuned/{trial['trialId']}/export/saved_model.pb" for trial in trials} <= names
