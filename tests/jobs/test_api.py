"""Jobs as resources: what a new one must say, the queue, labels, lists, policies. One slot, so that jobs wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from mlgate.core import jobs
from mlgate.core.errors import FailedPrecondition
from mlgate.core.wire import format_timestamp
from tests.harness import Server
from tests.http.people import Api, error_of, writing
from tests.jobs.programs import RUNTIME, Lab

FAR = "gs://some-bucket/trainer-0.1.tar.gz"
GOOD: dict[str, Any] = {
    "scaleTier": "BASIC", "region": "us-central1", "pythonModule": "trainer.task", "packageUris": [FAR], **RUNTIME,
}  # fmt: skip
CUSTOM = {"scaleTier": "CUSTOM", "masterType": "n1-standard-4"}
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Server(tmp_path_factory.mktemp("jobs") / "data", settings={"MLGATE_RUNNER_SLOTS": "1"})
    with Api(server.initialize().start()) as api:
        yield Lab(api, "jobs-api").make()
    server.close()


def create(lab: Lab, job_id: str = "j", **job: Any) -> Any:
    return lab.api(lab.owner, "POST", f"{lab.path}/jobs", {"jobId": job_id, **job})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scaleTier", {"scaleTier": None}),
        ("packageUris", {"packageUris": []}),
        ("packageUris", {"packageUris": [FAR] * 101}),
        ("packageUris[1]", {"packageUris": [FAR, "gs://some-bucket/program.py"]}),
        ("packageUris[0]", {"packageUris": ["s3://some-bucket/x.whl"]}),
        ("pythonModule", {"pythonModule": ""}),
        ("pythonModule", {"pythonModule": "-c print(1)"}),
        ("pythonModule", {"pythonModule": "a..b"}),
        ("region", {"region": None}),
        ("region", {"region": "moon"}),
        ("runtimeVersion", {"runtimeVersion": None}),
        ("runtimeVersion", {"runtimeVersion": "99.9"}),
        ("pythonVersion", {"pythonVersion": "3"}),
        ("jobDir", {"jobDir": "/tmp/x"}),
        ("jobDir", {"jobDir": "gs://some-bucket/../x"}),
        ("args", {"args": ["x"] * 1001}),
        ("args", {"args": ["x" * 70_000]}),
        ("scheduling.priority", {"scheduling": {"priority": 1001}}),
        ("scheduling.priority", {"scheduling": {"priority": -1}}),
        ("scheduling.maxWaitTime", {"scheduling": {"maxWaitTime": "1799s"}}),
        ("scheduling.maxRunningTime", {"scheduling": {"maxRunningTime": "0s"}}),
        ("scheduling.maxRunningTime", {"scheduling": {"maxRunningTime": "-5s"}}),
        ("masterType", {"scaleTier": "CUSTOM"}),
        ("masterType", {"masterType": "n1-standard-4"}),
        ("workerType", {**CUSTOM, "workerCount": "1"}),
        ("workerCount", {**CUSTOM, "workerType": "n1-standard-4"}),
        ("workerCount", {**CUSTOM, "workerType": "n1-standard-4", "workerCount": "-1"}),
        ("workerCount", {"workerCount": 1}),
        ("evaluatorCount", {**CUSTOM, "evaluatorType": "n1-standard-4", "evaluatorCount": 2}),
        ("masterType", {**CUSTOM, "masterType": "Big Machine"}),
    ],
)
def test_a_field_that_is_wrong_is_named(lab: Lab, field: str, change: dict[str, Any]) -> None:
    response = create(lab, trainingInput={**GOOD, **change})
    error = error_of(response)
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    violations = error["details"][-1]["fieldViolations"]
    assert [v["field"] for v in violations] == [f"job.trainingInput.{field}"]


@pytest.mark.parametrize(
    ("named", "change"),
    [
        ("BASIC_GPU", {"scaleTier": "BASIC_GPU"}),
        ("BASIC_TPU", {"scaleTier": "BASIC_TPU"}),
        ("PREMIUM_1", {"scaleTier": "PREMIUM_1"}),
        ("masterConfig.imageUri", {**CUSTOM, "masterConfig": {"imageUri": "gcr.io/x/y"}}),
        ("workerConfig.acceleratorConfig", {"workerConfig": {"acceleratorConfig": {"count": 1}}}),
        ("standard_gpu", {**CUSTOM, "masterType": "standard_gpu"}),
        ("network", {"network": "projects/1/global/networks/x"}),
        ("encryptionConfig", {"encryptionConfig": {"kmsKeyName": "x"}}),
        ("enableWebAccess", {"enableWebAccess": True}),
    ],
)
def test_what_is_not_there_is_refused_by_name(lab: Lab, named: str, change: dict[str, Any]) -> None:
    error = error_of(create(lab, trainingInput={**GOOD, **change}))
    assert (error["code"], error["status"]) == (501, "UNIMPLEMENTED")
    assert named in error["message"]


def test_a_cluster_that_this_machine_does_not_have_is_refused_with_the_reason(lab: Lab) -> None:
    error = error_of(create(lab, trainingInput={**GOOD, "scaleTier": "STANDARD_1"}))
    assert error["code"] == 400
    assert "8 processes here (1 master, 4 worker, 3 parameterServer); this server runs at most 1" in error["message"]


@pytest.mark.parametrize("job", [{}, {"trainingInput": GOOD, "predictionInput": {"uri": "gs://some-bucket/m"}}])
def test_a_job_is_either_training_or_prediction(lab: Lab, job: dict[str, Any]) -> None:
    assert error_of(create(lab, **job))["code"] == 400


@pytest.mark.parametrize("job_id", ["", "1st", "a-b", "x" * 129, "ä"])
def test_a_job_id_has_rules(lab: Lab, job_id: str) -> None:
    assert (
        error_of(create(lab, job_id, trainingInput=GOOD))["details"][-1]["fieldViolations"][0]["field"] == "job.jobId"
    )


@pytest.fixture
def busy(lab: Lab) -> Iterator[str]:
    """A job that holds the only slot."""
    job_id = lab.submit(SLEEP)
    lab.until_line(job_id, "up")
    yield job_id
    lab.api(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {})
    lab.wait(job_id)


def cancel(lab: Lab, *job_ids: str) -> None:
    for job_id in job_ids:
        lab.api.done(lab.owner, "POST", f"{lab.path}/jobs/{job_id}:cancel", {})


def test_jobs_wait_in_the_order_of_their_priority_then_of_their_coming(lab: Lab, busy: str) -> None:
    low, middle, high, other = (
        lab.submit("", scheduling={"priority": priority} if priority else {}) for priority in (0, 5, 900, 5)
    )
    assert "jobPosition" not in lab.get(busy)
    assert [lab.get(job_id)["jobPosition"] for job_id in (high, middle, other, low)] == ["1", "2", "3", "4"]
    cancel(lab, busy)
    starts = {job_id: lab.wait(job_id)["startTime"] for job_id in (low, middle, high, other)}
    assert sorted(starts, key=lambda job_id: starts[job_id]) == [high, middle, other, low]


def test_a_queued_job_is_cancelled_at_once_and_never_runs(lab: Lab, busy: str) -> None:
    job_id = lab.submit("print('ran')")
    cancel(lab, job_id)
    job = lab.get(job_id)
    assert (job["state"], job["errorMessage"]) == ("CANCELLED", f"The job was cancelled by {lab.owner}.")
    assert "endTime" in job
    assert "startTime" not in job
    cancel(lab, busy)
    assert lab.run("")["state"] == "SUCCEEDED"
    assert lab.get(job_id)["state"] == "CANCELLED"
    assert lab.lines(job_id) == []


def test_a_job_id_is_never_free_again(lab: Lab, busy: str) -> None:
    job_id = lab.submit("")
    cancel(lab, job_id)
    error = error_of(create(lab, job_id, trainingInput=GOOD))
    assert (error["code"], error["status"]) == (409, "ALREADY_EXISTS")


def test_labels_can_be_changed_and_nothing_else(lab: Lab, busy: str) -> None:
    path = f"{lab.path}/jobs/{busy}"

    def patch(mask: str, body: dict[str, Any]) -> Any:
        return lab.api(lab.owner, "PATCH", path, body, params={"updateMask": mask})

    before = lab.get(busy)
    changed = patch("labels", {"labels": {"team": "blue"}}).json()
    assert (changed["labels"], changed["etag"] != before["etag"]) == ({"team": "blue"}, True)
    assert patch("labels,etag", {"labels": {}, "etag": before["etag"]}).status_code == 409
    assert patch("labels,etag", {"labels": {}, "etag": changed["etag"]}).json().get("labels") is None
    for mask in ("", "state", "trainingInput.args", "jobId"):
        assert patch(mask, {"labels": {}}).status_code == 400
    assert patch("labels", {"labels": {"Team": "x"}}).status_code == 400


def test_jobs_are_listed_filtered_and_paged(lab: Lab, busy: str) -> None:
    census = [lab.submit("", job_id=f"census_{n}") for n in range(5)]
    cancel(lab, *census)

    def listed(**query: Any) -> Any:
        return lab.api.done(lab.owner, "GET", f"{lab.path}/jobs", params=query)

    def names(filter: str) -> list[str]:
        return [job["jobId"] for job in listed(filter=filter, pageSize=100).get("jobs", [])]

    assert names("jobId:census*") == census
    assert names("jobId:census* AND state:CANCELLED") == census
    assert names("jobId:census* AND NOT state:CANCELLED") == []
    assert busy in names("state=RUNNING")
    assert listed(filter="state:NONE") == {}
    assert error_of(lab.api(lab.owner, "GET", f"{lab.path}/jobs", params={"filter": "colour:red"}))["code"] == 400
    first = listed(filter="jobId:census*", pageSize=3)
    rest = listed(filter="jobId:census*", pageSize=3, pageToken=first["nextPageToken"])
    assert [job["jobId"] for job in first["jobs"] + rest["jobs"]] == census
    assert "nextPageToken" not in rest


def test_the_creator_owns_the_job_and_may_share_it(lab: Lab, busy: str) -> None:
    developer, friend = "user:dev@example.com", "user:friend@example.com"
    project = lab.api.new_project("jobs-shared")
    assert lab.api.bind(project, {"roles/ml.developer": [developer]}, by=lab.owner).is_success
    path = f"{project}/jobs/of_dev"
    lab.api.done(developer, "POST", f"{project}/jobs", {"jobId": "of_dev", "trainingInput": GOOD})
    policy = lab.api.done(developer, "GET", f"{path}:getIamPolicy")
    assert policy["bindings"] == [{"role": "roles/ml.jobOwner", "members": [developer]}]
    assert lab.api(friend, "GET", path).status_code == 403
    bindings = [{"role": "roles/ml.jobOwner", "members": [developer, friend]}]
    lab.api.done(developer, "POST", f"{path}:setIamPolicy", {"policy": {"bindings": bindings, "etag": policy["etag"]}})
    assert lab.api.done(friend, "GET", path)["jobId"] == "of_dev"
    asked = {"permissions": ["ml.jobs.cancel", "ml.jobs.create"]}
    held = lab.api.done(friend, "POST", f"{path}:testIamPermissions", asked)
    assert held == {"permissions": ["ml.jobs.cancel"]}
    bad = {"policy": {"bindings": [{"role": "roles/ml.admin", "members": [friend]}]}}
    assert lab.api(developer, "POST", f"{path}:setIamPolicy", bad).status_code == 400
    lab.api.done(friend, "POST", f"{path}:cancel", {})


def test_an_unmodified_client_creates_lists_and_cancels(lab: Lab, busy: str) -> None:
    client = lab.api.server.api("ml", lab.owner).projects().jobs()
    parent = f"projects/{lab.project_id}"
    made = client.create(parent=parent, body={"jobId": "by_client", "trainingInput": GOOD}).execute()
    assert (made["state"], made["jobPosition"]) == ("QUEUED", "1")
    assert "by_client" in [job["jobId"] for job in client.list(parent=parent, pageSize=100).execute()["jobs"]]
    assert client.cancel(name=f"{parent}/jobs/by_client").execute() == {}
    assert client.get(name=f"{parent}/jobs/by_client").execute()["state"] == "CANCELLED"


# the table of states


def test_every_step_is_in_the_table_and_no_other() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 1, 1, tzinfo=UTC)
    for state, following in jobs.TRANSITIONS.items():
        for to in jobs.TRANSITIONS:
            job = {"state": state}
            if to in following:
                moved = jobs.move(job, to, now, "why")
                assert ("endTime" in moved) is (to in ("SUCCEEDED", "FAILED", "CANCELLED"))
                assert ("errorMessage" in moved) is (to in ("FAILED", "CANCELLING", "CANCELLED"))
            else:
                with pytest.raises(FailedPrecondition):
                    jobs.move(job, to, now)


# time and projects


def test_a_job_that_waits_longer_than_it_may_is_cancelled(lab: Lab, busy: str) -> None:
    """maxWaitTime is half an hour at least: so the job is made older in the store."""
    patient = lab.submit("", scheduling={"maxWaitTime": "7200s"})
    late = lab.submit("", scheduling={"maxWaitTime": "1800s"})
    with writing(lab.api.server) as tx:
        for job_id in (patient, late):
            record = tx.get(f"projects/{lab.project_id}/jobs/{job_id}")
            hour_ago = record.created - timedelta(hours=1)
            record.body["createTime"] = format_timestamp(hour_ago)
            tx.update(record)
    job = lab.wait(late)
    assert (job["state"], job["errorMessage"]) == ("CANCELLED", "The job did not start within its maxWaitTime.")
    assert lab.get(patient)["state"] == "QUEUED"
    cancel(lab, patient)


def test_a_job_ends_with_its_project(lab: Lab) -> None:
    doomed = Lab(lab.api, "jobs-doomed").make()
    job_id = doomed.submit(SLEEP)
    doomed.until_line(job_id, "up")
    lab.api.done(lab.owner, "DELETE", doomed.path)
    assert lab.run("")["state"] == "SUCCEEDED"  # the slot is free again
    lab.api.done(lab.owner, "POST", f"{doomed.path}:undelete", {})
    job = doomed.wait(job_id)
    assert (job["state"], job["errorMessage"]) == ("CANCELLED", "The job's project is being deleted.")
