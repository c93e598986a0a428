"""Batch prediction on a real server: what is read, what is written, and what goes wrong alone."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.harness import Server
from tests.http.people import Api, error_of
from tests.jobs.predictions import BatchLab, counts, csv_lines, json_lines, rows_of
from tests.jobs.programs import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchLab]:
    server = Server(tmp_path_factory.mktemp("batch") / "data", settings={"MLGATE_RUNNER_SLOTS": "3"})
    with Api(server.initialize().start()) as api:
        lab = BatchLab(api, "batch-lab")
        lab.make()
        lab.put_models()
        yield lab
    server.close()


ROWS = rows_of(300)


def test_json_lines_become_predictions_in_their_order(lab: BatchLab) -> None:
    job = lab.predict(lab.upload("json/rows.json", json_lines(ROWS)))
    assert counts(job) == ("SUCCEEDED", 300, 0), lab.log(job["jobId"])
    assert job["predictionOutput"]["outputPath"] == job["predictionInput"]["outputPath"]
    assert job["createTime"] < job["startTime"] < job["endTime"]
    assert lab.results(job["jobId"]) == lab.expected(ROWS)
    assert set(lab.outputs(job["jobId"])) == {
        "prediction.results-00000-of-00001",
        "prediction.errors_stats-00000-of-00001",
    }
    assert any(
        "1 of 1 shards are done: 300 predictions, 0 errors." in line for line in lab.lines(job["jobId"], "service")
    )
    assert any(line.startswith("Shard 0 is computed") for line in lab.lines(job["jobId"], "worker-replica-0"))


def test_several_files_are_found_by_wildcards_and_read_once(lab: BatchLab) -> None:
    for n in range(3):
        lab.upload(f"many/part-{n}.csv", csv_lines(ROWS[n * 100 : n * 100 + 100]))
    lab.upload("many/deeper/part-9.csv", csv_lines(ROWS[:1]))
    lab.upload("many/other.txt", b"1,2,3,4\n")
    there = f"gs://{lab.bucket}/many"
    job = lab.predict(
        [f"{there}/part-*.csv", f"{there}/part-1.csv"], dataFormat="CSV", modelName="projects/batch-lab/models/m"
    )
    assert counts(job) == ("SUCCEEDED", 300, 0), lab.log(job["jobId"])
    assert lab.results(job["jobId"]) == pytest.approx(lab.expected(ROWS), abs=1e-7)


def test_a_model_that_is_not_deployed_is_read_from_its_folder(lab: BatchLab) -> None:
    job = lab.predict(lab.upload("uri/rows.json", json_lines(ROWS[:5])), uri=lab.model_uri)
    assert counts(job) == ("SUCCEEDED", 5, 0), lab.log(job["jobId"])
    assert lab.results(job["jobId"]) == lab.expected(ROWS[:5])


BAD = [
    (b'["a", 1, 2, 3]', ["a", 1, 2, 3]),
    (b"[1, 2, 3, 4, 5]", [1, 2, 3, 4, 5]),
    (b"[1, 2, 3", "[1, 2, 3"),
    (b'{"x": 1}', {"x": 1}),
    (b"[[1, 2, 3, 4]]", [[1, 2, 3, 4]]),
]


def test_one_bad_row_fails_alone_and_is_told(lab: BatchLab) -> None:
    lines = json_lines(ROWS).splitlines(keepends=True)
    for place, (line, _) in zip((0, 7, 100, 250, 300), BAD, strict=True):
        lines.insert(place, line + b"\n")
    job = lab.predict(lab.upload("bad/rows.json", b"\n\r\n".join(lines)))
    assert counts(job) == ("SUCCEEDED", 300, len(BAD)), lab.log(job["jobId"])
    assert lab.results(job["jobId"]) == lab.expected(ROWS)
    told = lab.errors(job["jobId"])
    assert sorted(str(each["instance"]) for each in told) == sorted(str(shown) for _, shown in BAD)
    assert all("(Error code:" in each["error"] for each in told), told


def test_a_bad_row_of_csv_fails_alone_and_numbers_stay_numbers(lab: BatchLab) -> None:
    lines = csv_lines(ROWS).splitlines(keepends=True)
    lines[5:5] = [b"1,2,x\n", b"a,b,c,d\n", b"1,2,3,4,5\n", b'"1",2,3,"4"\n', b"\n"]
    job = lab.predict(lab.upload("badcsv/rows.csv", b"".join(lines)), dataFormat="CSV")
    assert counts(job) == ("SUCCEEDED", 301, 3), lab.errors(job["jobId"])
    expected = lab.expected([*ROWS[:5], [1, 2, 3, 4], *ROWS[5:]])
    assert lab.results(job["jobId"]) == pytest.approx(expected, abs=1e-7)
    assert [each["instance"] for each in lab.errors(job["jobId"])] == ["1,2,x", "a,b,c,d", "1,2,3,4,5"]


def test_text_of_one_row_does_not_turn_its_neighbours_numbers_into_text(lab: BatchLab) -> None:
    kinds = [[1], ["1"], [2], ["2"]]
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, LinearRegression()).fit([[1], [2], [3]], [10.0, 20.0, 30.0])
    version = lab.deploy_sklearn("kinds", model)
    job = lab.predict(lab.upload("kinds/rows.json", json_lines(kinds)), versionName=version)
    found = lab.results(job["jobId"])
    assert (found[0], found[-1]) == (pytest.approx(10.0), pytest.approx(20.0)), (found, lab.errors(job["jobId"]))


PREDICTOR = """
class Echo:
    @classmethod
    def from_path(cls, model_dir):
        return cls()

    def predict(self, instances, **kwargs):
        if len(instances) > 3:
            raise ValueError("too many")
        if any(instance in ("poison", b"poison") for instance in instances):
            raise ValueError("that is poison")
        return [{"size": len(instance), "text": repr(instance), "signature": kwargs.get("signature_name")}
                for instance in instances]
"""


@pytest.fixture(scope="module")
def echo(lab: BatchLab) -> str:
    """A version whose answers say what it was asked."""
    return lab.deploy_custom("echo", PREDICTOR, "Echo")


def test_text_lines_are_instances_of_a_class_of_ones_own(lab: BatchLab, echo: str) -> None:
    text = "one\r\ntwo, three\n\npoison\nfünf".encode()
    job = lab.predict(
        lab.upload("text/a.txt", text), dataFormat="TEXT", versionName=echo, batchSize="2", signatureName="mine"
    )
    assert counts(job) == ("SUCCEEDED", 3, 1), lab.log(job["jobId"])
    assert [each["text"] for each in lab.results(job["jobId"])] == ["'one'", "'two, three'", "'fünf'"]
    assert {each["signature"] for each in lab.results(job["jobId"])} == {"mine"}
    (error,) = lab.errors(job["jobId"])
    assert (error["instance"], "that is poison" in error["error"]) == ("poison", True)


def record(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(data))
    return head + masked(head) + data + masked(data)


@pytest.mark.parametrize("kind", ["TF_RECORD", "TF_RECORD_GZIP"])
def test_records_are_bytes(lab: BatchLab, echo: str, kind: str) -> None:
    data = b"".join(record(each) for each in (b"one", b"\xff\x00", b"poison"))
    path = lab.upload(f"{kind}/a", gzip.compress(data) if kind.endswith("GZIP") else data)
    job = lab.predict(path, dataFormat=kind, versionName=echo)
    assert counts(job) == ("SUCCEEDED", 2, 1), lab.log(job["jobId"])
    assert [each["text"] for each in lab.results(job["jobId"])] == ["b'one'", "b'\\xff\\x00'"]
    assert [each["instance"] for each in lab.errors(job["jobId"])] == [{"b64": base64.b64encode(b"poison").decode()}]


def test_csv_comes_out_with_its_keys_in_a_file_of_their_own(lab: BatchLab, echo: str) -> None:
    path = lab.upload("keys/a.txt", b"one\ntwo\n")
    job = lab.predict(path, dataFormat="TEXT", versionName=echo, outputDataFormat="CSV")
    assert counts(job) == ("SUCCEEDED", 2, 0), lab.log(job["jobId"])
    outputs = lab.outputs(job["jobId"])
    assert outputs["prediction.keys"] == "size,text,signature\n"
    rows = list(csv.reader(io.StringIO(outputs["prediction.results-00000-of-00001"])))
    assert rows == [["3", "'one'", ""], ["3", "'two'", ""]]


def test_compressed_lines_are_read_as_lines(lab: BatchLab) -> None:
    path = lab.upload("zipped/rows.json.gz", gzip.compress(json_lines(ROWS[:9])))
    job = lab.predict(path)
    assert counts(job) == ("SUCCEEDED", 9, 0), lab.log(job["jobId"])
    assert lab.results(job["jobId"]) == lab.expected(ROWS[:9])


def test_an_empty_file_gives_an_empty_result(lab: BatchLab) -> None:
    job = lab.predict(lab.upload("empty/rows.json", b""))
    assert counts(job) == ("SUCCEEDED", 0, 0)
    assert lab.results(job["jobId"]) == []


# how jobs fail


FAILING: list[tuple[dict[str, Any], str]] = [
    ({"paths": "gs://{bucket}/nothing/*"}, "There is no object gs://batch-lab-files/nothing/* (inputPaths)."),
    ({"paths": "gs://{bucket}/model"}, "For all objects of a folder write gs://batch-lab-files/model/*."),
    ({"uri": "gs://{bucket}/empty-folder"}, "holds no files"),
    ({"uri": "gs://{bucket}/only"}, "Model file not found"),
    ({"uri": "gs://{bucket}/broken"}, "model.bst could not be read"),
    (
        {"dataFormat": "TF_RECORD"},
        "gs://batch-lab-files/only/rows.json cannot be read: it is not in the format TFRecord",
    ),
    ({"dataFormat": "TF_RECORD_GZIP"}, "cannot be read: Not a gzipped file"),
]


@pytest.mark.parametrize(("given", "said"), FAILING, ids=[said[:30] for _, said in FAILING])
def test_why_it_failed_is_said_and_nothing_is_written(lab: BatchLab, given: dict[str, Any], said: str) -> None:
    lab.upload("only/rows.json", json_lines(ROWS[:2]))
    lab.upload("broken/model.bst", b"no model")
    given = {name: value.replace("{bucket}", lab.bucket) for name, value in given.items()}
    job = lab.predict(given.pop("paths", f"gs://{lab.bucket}/only/rows.json"), **given)
    assert (job["state"], said in job["errorMessage"]) == ("FAILED", True), job["errorMessage"]
    assert lab.outputs(job["jobId"]) == {}


def test_a_missing_right_of_the_service_agent_is_named(lab: BatchLab) -> None:
    other = Lab(lab.api, "batch-elsewhere").make()
    path, agent = other.upload("rows.json", json_lines(ROWS[:2])), "@cloud-ml.google.com.iam.gserviceaccount.com"
    reading = lab.predict(path)
    assert reading["state"] == "FAILED"
    assert f"{agent} lacks storage.objects.list on bucket {other.bucket}" in reading["errorMessage"]
    writing = lab.predict(lab.upload("rights/rows.json", json_lines(ROWS[:2])), outputPath=f"gs://{other.bucket}/out")
    assert writing["state"] == "FAILED"
    assert f"{agent} lacks storage.objects.create on bucket {other.bucket}" in writing["errorMessage"]


CRASH = """
import os

class Crash:
    @classmethod
    def from_path(cls, model_dir):
        return cls()

    def predict(self, instances, **kwargs):
        os.abort()
"""


def test_a_model_that_ends_its_process_fails_the_job_after_some_tries(lab: BatchLab) -> None:
    version = lab.deploy_custom("crash", CRASH, "Crash")
    job = lab.predict(lab.upload("crash/rows.json", json_lines(ROWS[:2])), versionName=version)
    assert (job["state"], "was ended by signal 6" in job["errorMessage"]) == ("FAILED", True), job["errorMessage"]
    assert sum("is begun again" in line for line in lab.lines(job["jobId"], "service")) == 2


GOOD = {
    "versionName": "projects/batch-lab/models/m/versions/v1", "dataFormat": "JSON", "inputPaths": ["gs://some-bucket/*"],
    "outputPath": "gs://some-bucket/out", "region": "us-central1",
}  # fmt: skip
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"versionName": None}, "predictionInput", "Exactly one of modelName, versionName and uri"),
    ({"uri": "gs://some-bucket/m"}, "predictionInput", "there is versionName and uri"),
    ({"dataFormat": None}, "predictionInput.dataFormat", "dataFormat is required"),
    ({"outputDataFormat": "TF_RECORD"}, "predictionInput.outputDataFormat", "it can be JSON or CSV"),
    ({"inputPaths": []}, "predictionInput.inputPaths", "inputPaths is required"),
    ({"inputPaths": ["/tmp/x"]}, "predictionInput.inputPaths[0]", "is no address of a bucket"),
    ({"inputPaths": ["gs://some-bucket"]}, "predictionInput.inputPaths[0]", "is a whole bucket"),
    ({"outputPath": None}, "predictionInput.outputPath", "outputPath is required"),
    ({"region": None}, "predictionInput.region", "is no region"),
    ({"batchSize": 0}, "predictionInput.batchSize", "batchSize is 0"),
    ({"maxWorkerCount": -1}, "predictionInput.maxWorkerCount", "maxWorkerCount is -1"),
    ({"runtimeVersion": "9.9"}, "predictionInput.runtimeVersion", "There is no runtimeVersion"),
]


@pytest.mark.parametrize(("change", "field", "said"), WRONG, ids=[f"{f}: {s}" for _, f, s in WRONG])
def test_what_is_wrong_is_said_by_its_field(lab: BatchLab, change: dict[str, Any], field: str, said: str) -> None:
    given = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    error = error_of(lab.api(lab.owner, "POST", f"{lab.path}/jobs", {"jobId": "wrong", "predictionInput": given}))
    assert (error["code"], said in error["message"]) == (400, True), error
    assert field in str(error["details"]), error
