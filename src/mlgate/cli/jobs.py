"""`mlgate jobs`: submit training programs, watch them, stop them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import job_stream, output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.labels import Labels, labels_of
from mlgate.cli.names import job_name, project_name
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import id_of, parse_gs_uri

group = words("Jobs: train, tune, watch, stop.")
submit = words("Start a job.")
group.add_typer(submit, name="submit")

Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its whole name.")]
NewJob = Annotated[str, typer.Argument(metavar="JOB", help="An id for the job; never one that was used before.")]
Region = Annotated[str, typer.Option(help="Where it runs; all regions are this server.")]
Task = Annotated[str, typer.Option("--task-name", help="Only lines of this task, such as master-replica-0.")]
Interval = Annotated[float, typer.Option("--polling-interval", help="Seconds between two looks.", min=0.1)]

_J = "ml.projects.jobs"


@verb(submit)
def training(
    client: Client,
    job: NewJob,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="What the program itself is given.")
    ] = None,
    module_name: Annotated[str, typer.Option(help="The module to run, such as trainer.task.")] = "",
    package_path: Annotated[
        Path | None, typer.Option(help="Directory of the package, to be built and uploaded.")
    ] = None,
    packages: Annotated[str, typer.Option(help="Built packages, with commas: files here, or gs://...")] = "",
    staging_bucket: Annotated[str, typer.Option(help="Where packages are uploaded: gs://BUCKET.")] = "",
    job_dir: Annotated[str, typer.Option(help="gs://... where the program puts what it makes (--job-dir).")] = "",
    region: Region = "us-central1",
    runtime_version: Annotated[str, typer.Option(help="The runtime, such as 2.11.")] = "",
    python_version: Annotated[str, typer.Option(help="The runtime's Python, such as 3.7.")] = "",
    scale_tier: Annotated[str, typer.Option(help="basic, standard-1 or custom.")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file of a job, for what has no flag.")] = None,
    labels: Labels = None,
    service_account: Annotated[str, typer.Option(help="The account that the program runs as.")] = "",
    master_machine_type: Annotated[str, typer.Option(help="With scale tier custom.")] = "",
    worker_machine_type: Annotated[str, typer.Option(help="With --worker-count.")] = "",
    worker_count: Annotated[int | None, typer.Option(help="How many workers.", min=1)] = None,
    parameter_server_machine_type: Annotated[str, typer.Option(help="With --parameter-server-count.")] = "",
    parameter_server_count: Annotated[int | None, typer.Option(help="How many parameter servers.", min=1)] = None,
    use_chief_in_tf_config: Annotated[bool, typer.Option(help="As the service has it; no effect here.")] = False,
    stream_logs: Annotated[bool, typer.Option("--stream-logs", help="Show the log until the job ends.")] = False,
    async_: Annotated[bool, typer.Option("--async", help="Do not wait (the default).")] = False,
) -> Any:
    """Train a model: run a Python package of yours on the server."""
    body = _config(config)
    given = body.setdefault("trainingInput", {})
    said: dict[str, Any] = {
        "pythonModule": module_name,
        "jobDir": job_dir,
        "region": region if "region" not in given or region != "us-central1" else "",
        "runtimeVersion": runtime_version,
        "pythonVersion": python_version,
        "scaleTier": scale_tier.upper().replace("-", "_"),
        "serviceAccount": service_account,
        "masterType": master_machine_type,
        "workerType": worker_machine_type,
        "workerCount": worker_count,
        "parameterServerType": parameter_server_machine_type,
        "parameterServerCount": parameter_server_count,
        "useChiefInTfConfig": use_chief_in_tf_config,
        "args": arguments,
    }
    given |= {field: value for field, value in said.items() if value}
    given.setdefault("scaleTier", "BASIC")
    uploaded = _uploaded(client, job, package_path, packages, staging_bucket or given.get("jobDir", ""))
    if uploaded:
        given["packageUris"] = uploaded
    return _submitted(client, job, body, labels, stream_logs and not async_)


@verb(submit)
def prediction(
    client: Client,
    job: NewJob,
    data_format: Annotated[str, typer.Option(help="json, text, csv, tf-record or tf-record-gzip.")],
    input_paths: Annotated[str, typer.Option(help="gs://..., with commas; * at the end of a path.")],
    output_path: Annotated[str, typer.Option(help="gs://... where the results go.")],
    region: Region = "us-central1",
    model: Annotated[str, typer.Option(help="The model's id, or its whole name.")] = "",
    version: Annotated[str, typer.Option(help="One version; without it the model's default.")] = "",
    model_dir: Annotated[str, typer.Option(help="gs://... of a model that is not deployed.")] = "",
    batch_size: Annotated[int | None, typer.Option(help="Instances that are predicted at once.", min=1)] = None,
    max_worker_count: Annotated[int | None, typer.Option(help="Workers at most.", min=1)] = None,
    runtime_version: Annotated[str, typer.Option(help="With --model-dir.")] = "",
    signature_name: Annotated[str, typer.Option(help="Of a TensorFlow model.")] = "",
    output_data_format: Annotated[str, typer.Option(help="json or csv.")] = "",
    labels: Labels = None,
    stream_logs: Annotated[bool, typer.Option("--stream-logs", help="Show the log until the job ends.")] = False,
) -> Any:
    """Predict with a model for every instance in some files."""
    if bool(model) == bool(model_dir):
        raise Failure("INVALID_ARGUMENT", "Give --model or --model-dir.")
    if version and not model:
        raise Failure("INVALID_ARGUMENT", "--version goes with --model.")
    from mlgate.cli.names import model_name, version_name

    said: dict[str, Any] = {
        "dataFormat": data_format.upper().replace("-", "_"),
        "outputDataFormat": output_data_format.upper(),
        "inputPaths": [path for path in input_paths.split(",") if path],
        "outputPath": output_path,
        "region": region,
        "modelName": model_name(client, model) if model and not version else "",
        "versionName": version_name(client, version, model) if version else "",
        "uri": model_dir,
        "batchSize": batch_size,
        "maxWorkerCount": max_worker_count,
        "runtimeVersion": runtime_version,
        "signatureName": signature_name,
    }
    body = {"predictionInput": {field: value for field, value in said.items() if value}}
    return _submitted(client, job, body, labels, stream_logs)


@verb(group, name="list", columns=("jobId", "state", "createTime"))
def list_jobs(
    client: Client,
    filter: Annotated[str | None, typer.Option(help="Such as state:FAILED AND jobId:census*.")] = None,
    limit: Limit = None,
) -> Any:
    """List the jobs of a project."""
    return client.listed(f"{_J}.list", "jobs", {"filter": filter}, limit, parent=project_name(client.project))


@verb(group)
def describe(client: Client, job: Job) -> Any:
    """Show a job: its state, what it was given and what came out."""
    return client.call(f"{_J}.get", name=job_name(client, job))


@verb(group)
def update(
    client: Client,
    job: Job,
    update_labels: Labels = None,
    remove_labels: Annotated[str, typer.Option(help="Keys, with commas.")] = "",
    clear_labels: Annotated[bool, typer.Option("--clear-labels", help="Remove all.")] = False,
) -> Any:
    """Change a job's labels."""
    name = job_name(client, job)
    if not (update_labels or remove_labels or clear_labels):
        raise Failure("INVALID_ARGUMENT", "Give --update-labels, --remove-labels or --clear-labels.")
    before = client.call(f"{_J}.get", name=name)
    kept = (
        {} if clear_labels else {k: v for k, v in before.get("labels", {}).items() if k not in remove_labels.split(",")}
    )
    body = {"labels": {**kept, **(labels_of(update_labels) or {})}, "etag": before["etag"]}
    return client.call(f"{_J}.patch", body, {"updateMask": "labels,etag"}, name=name)


@verb(group)
def cancel(client: Client, job: Job) -> Any:
    """Stop a job."""
    name = job_name(client, job)
    client.call(f"{_J}.cancel", {}, name=name)
    output.note(f"Cancelled job [{id_of(name)}].")


@verb(group)
def stream_logs(client: Client, job: Job, task_name: Task = "", polling_interval: Interval = 1.0) -> Any:
    """Show the log of a job, and what comes to it until the job ends."""
    job_stream.stream(client, job_name(client, job), task_name, polling_interval)


add_policy_verbs(
    group,
    Kind(
        "job",
        lambda client, job: client.call(
            f"{_J}.getIamPolicy", query={"options.requestedPolicyVersion": 3}, resource=job_name(client, job)
        ),
        lambda client, job, policy: client.call(f"{_J}.setIamPolicy", wrapped(policy), resource=job_name(client, job)),
        job_name,
    ),
)


def _submitted(client: Client, job: str, body: dict[str, Any], labels: Any, is_streamed: bool) -> Any:
    if labels:
        body["labels"] = {**body.get("labels", {}), **(labels_of(labels) or {})}
    made = client.call(f"{_J}.create", {**body, "jobId": job}, parent=project_name(client.project))
    output.note(f"Job [{job}] submitted successfully.")
    if not is_streamed:
        output.note(
            "Your job is still active. You may view the status of your job with the command\n\n"
            f"  $ mlgate jobs describe {job}\n\nor continue streaming the logs with the command\n\n"
            f"  $ mlgate jobs stream-logs {job}\n"
        )
        return {"jobId": made["jobId"], "state": made["state"]}
    ended = job_stream.stream(client, job_name(client, job))
    if ended["state"] != "SUCCEEDED":
        output.show({"jobId": job, "state": ended["state"], "endTime": ended.get("endTime")}, "")
        raise Failure("FAILED_PRECONDITION", f"The job is {ended['state']}: {ended.get('errorMessage', '')}")
    return {name: ended[name] for name in ("jobId", "state", "startTime", "endTime") if name in ended}


def _config(file: Path | None) -> dict[str, Any]:
    """The job of a YAML file."""
    if file is None:
        return {}
    import yaml

    try:
        loaded = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise Failure("INVALID_ARGUMENT", f"{file} cannot be read: {error}.") from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("trainingInput", {}), dict):
        raise Failure("INVALID_ARGUMENT", f"{file} holds no job: write trainingInput: and its fields below it.")
    return loaded


def _uploaded(client: Client, job: str, package_path: Path | None, packages: str, place: str) -> list[str]:
    """The gs:// addresses of all packages, those of this machine uploaded below JOB/DIGEST/ in the staging bucket."""
    from mlgate.cli.packaging import build

    named = [text for text in packages.split(",") if text]
    files: list[tuple[str, bytes]] = [build(package_path)] if package_path is not None else []
    uris = [text for text in named if text.startswith("gs://")]
    for path in (Path(text) for text in named if not text.startswith("gs://")):
        try:
            files.append((path.name, path.read_bytes()))
        except OSError as error:
            raise Failure("INVALID_ARGUMENT", f"{path} cannot be read: {error.strerror}.") from None
    if not files:
        return uris
    if not place:
        raise Failure(
            "INVALID_ARGUMENT", "Packages are uploaded first: give --staging-bucket gs://BUCKET (or --job-dir)."
        )
    bucket, folder = parse_gs_uri(place if place.startswith("gs://") else f"gs://{place}", "staging bucket")
    digest = hashlib.sha256(b"".join(data for _, data in files)).hexdigest()
    prefix = f"{folder.strip('/')}/packages" if folder.strip("/") else job
    return [_upload(client, data, bucket, f"{prefix}/{digest}/{name}") for name, data in files] + uris


def _upload(client: Client, data: bytes, bucket: str, name: str) -> str:
    import io

    from mlgate.cli.transfers import upload

    upload(client, io.BytesIO(data), bucket, name, "application/gzip")
    return f"gs://{bucket}/{name}"
