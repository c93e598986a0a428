"""Jobs: create, get, list, patch, cancel. A job is a record first; a runner makes it happen (`runner/`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlgate import job_logs
from mlgate.api.call import Call
from mlgate.api.messages.jobs import CancelJobRequest, Job, ListJobsResponse
from mlgate.api.messages.message import Empty, decode, encode
from mlgate.api.method import Need
from mlgate.api.paging import page
from mlgate.api.params import canonical
from mlgate.core import jobs, tuning
from mlgate.core.errors import Aborted, AlreadyExists
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.labels import check_labels
from mlgate.core.names import check_id, join, model_of
from mlgate.core.wire import format_timestamp, parse_mask
from mlgate.ports import Record, Task
from mlgate.records import job_plain
from mlgate.settings import slots_of

_FILTER_FIELDS = (
    "jobId", "state", "labels", "createTime", "startTime", "endTime", "errorMessage", "trainingInput", "trainingOutput",
    "predictionInput", "predictionOutput",
)  # fmt: skip
_MASK = ("labels", "etag")
_GIVEN = ("training_input", "prediction_input", "labels")


def needs_of_job(call: Call, body: Job) -> Iterable[Need]:
    """A batch prediction that names a model or version needs either predict permission there, in the project that owns
    it (R-071, R-074); a training job with an account of its own needs the right to act as it (R-093)."""
    batch, training = body.prediction_input, body.training_input
    for name in (batch.model_name, batch.version_name) if batch else ():
        if name:
            model = model_of(canonical(name, call.services.snapshot))
            yield Need(("ml.models.predict", "ml.versions.predict"), model)
    if training and training.service_account:
        email = training.service_account.lower()
        account = call.services.snapshot.accounts.get(email)
        project = account.project if account else "-"
        yield Need(("iam.serviceAccounts.actAs",), join(f"projects/{project}", "serviceAccounts", email))
    if previous := _previous(body):
        yield Need(("ml.jobs.get",), join(call.resource, "jobs", previous))


def create_job(call: Call, body: Job) -> Job:
    """A job that is QUEUED, its creator its owner (R-031), and the runner's task, in one transaction.

    Raises InvalidArgument, Unimplemented for what this server has not, AlreadyExists: a job's id is never free again;
    NotFound and FailedPrecondition for a job that cannot be resumed.
    """
    project = call.record(call.resource, "project")
    job_id = check_id("job", body.job_id or "", "job.jobId")
    check_labels(body.labels, "job.labels")
    given = encode(Job(**{field: getattr(body, field) for field in _GIVEN}))
    jobs.check_new(given, slots_of(call.settings))
    if tuned := given.get("trainingInput", {}).get("hyperparameters"):
        tuning.check(tuned)
    job = {**given, "jobId": job_id, "state": jobs.QUEUED, "createTime": format_timestamp(call.now)}
    name = join(project.name, "jobs", job_id)
    hidden = {**_resumed(call, body, given), **_used(call, body)}
    record = Record(name, "job", project.name, call.services.ids.uid(), job, call.now, hidden=hidden)
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(
            f"Field: job.job_id Error: The specified job id is in use already: {name}.",
            fields=[("job.job_id", "A job with this id already exists.")],
        ) from None
    call.tx.set_policy(name, Policy((Binding("roles/ml.jobOwner", (call.principal,)),)))
    task = Task(jobs.task_name(name, job, call.now, record.uid), jobs.RUN_JOB, {"job": name, "uid": record.uid})
    call.tx.enqueue(task)
    job_logs.note(call.tx, record, call.now, f"Job {job_id} is queued.")
    return _shown(call, record)


def get_job(call: Call) -> Job:
    return _shown(call, call.record(call.resource, "job"))


def list_jobs(call: Call) -> ListJobsResponse:
    call.record(call.resource, "project")
    queue = _queue(call)
    records, token = page(call, call.resource, "job", lambda r: job_plain(r, queue), _FILTER_FIELDS)
    return ListJobsResponse(jobs=[decode(Job, job_plain(r, queue)) for r in records], next_page_token=token)


def patch_job(call: Call, body: Job) -> Job:
    """Change a job's labels; with `etag` in the mask, or in the body, it must be the current one. Raises Aborted."""
    record = call.record(call.resource, "job")
    paths = parse_mask(call.query.get("updateMask", ""), _MASK)
    if ("etag" in paths or body.etag) and body.etag != record.etag:
        raise Aborted(f"The etag of {record.name} is not current; read it again and retry.")
    if "labels" in paths:
        check_labels(body.labels, "job.labels")
        if body.labels:
            record.body["labels"] = body.labels
        else:
            record.body.pop("labels", None)
    call.tx.update(record)
    return _shown(call, record)


def cancel_job(call: Call, _: CancelJobRequest) -> Empty:
    """Ask a job to stop; its runner sees it within a second. Raises FailedPrecondition for one that has ended."""
    record = call.record(call.resource, "job")
    before = record.body
    record.body = jobs.cancel(before, call.now, f"The job was cancelled by {call.principal}.")
    if record.body is not before:
        call.tx.update(record)
        job_logs.note(call.tx, record, call.now, record.body["errorMessage"], job_logs.WARNING)
    return Empty()


def _used(call: Call, body: Job) -> dict[str, Any]:
    """The model or version of a batch prediction, as it was authorized: by the project's id, not its number."""
    batch = body.prediction_input
    name = (batch.model_name or batch.version_name) if batch else ""
    return {"model": canonical(name, call.services.snapshot)} if name else {}


def _previous(body: Job) -> str:
    """The job that this one resumes."""
    tuned = body.training_input.hyperparameters if body.training_input else None
    return (tuned.resume_previous_job_id or "") if tuned else ""


def _resumed(call: Call, body: Job, given: dict[str, Any]) -> dict[str, Any]:
    previous = _previous(body)
    if not previous:
        return {}
    record = call.record(join(call.resource, "jobs", previous), "job")
    trials = tuning.resumed(given["trainingInput"]["hyperparameters"], record.body, record.hidden)
    return {"trials": trials}


def _queue(call: Call) -> Sequence[str]:
    return [task.body["job"] for task in call.tx.waiting_tasks(jobs.RUN_JOB)]


def _shown(call: Call, record: Record) -> Job:
    queue = _queue(call) if record.body["state"] == jobs.QUEUED else ()
    return decode(Job, job_plain(record, queue))
