"""`mlgate versions`: deployments of a model's files."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import output, usage, waiting
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.labels import Labels, labels_of
from mlgate.cli.names import bucket_id, model_name, version_name
from mlgate.cli.verbs import Limit, verb, words

group = words("Versions of a model: deploy, describe, choose the default.")

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version's id.")]
Model = Annotated[str, typer.Option(help="The model's id, or its whole name.")]
Description = Annotated[str | None, typer.Option(help="What is new in it.")]
Async = Annotated[bool, typer.Option("--async", help="Do not wait; print the operation.")]

_V = "ml.projects.models.versions"


@verb(group)
def create(
    client: Client,
    version: Version,
    model: Model,
    origin: Annotated[str, typer.Option(help="Directory of the model's files: gs://BUCKET/PATH, or a local one.")],
    runtime_version: Annotated[str, typer.Option(help="The service's runtime that the files were made for.")] = "2.11",
    python_version: Annotated[str, typer.Option(help="The Python that the files were made with.")] = "3.7",
    framework: Annotated[
        str | None, typer.Option(help="scikit-learn, xgboost or tensorflow; without it the files decide.")
    ] = None,
    prediction_class: Annotated[
        str | None, typer.Option(help="PACKAGE.MODULE.CLASS of a custom prediction routine.")
    ] = None,
    package_uris: Annotated[
        str | None, typer.Option(help="Packages of your own code: .tar.gz or .whl, gs:// or local, commas between.")
    ] = None,
    service_account: Annotated[str | None, typer.Option(help="Account that a custom routine acts as.")] = None,
    staging_bucket: Annotated[str | None, typer.Option(help="Bucket that local files are uploaded to.")] = None,
    machine_type: Annotated[str | None, typer.Option(help="Accepted as the service does; all run here.")] = None,
    explanation_method: Annotated[
        str | None, typer.Option(help="sampled-shapley, or integrated-gradients for TensorFlow.")
    ] = None,
    num_paths: Annotated[int, typer.Option(help="Orders of features that sampled-shapley tries.")] = 50,
    num_integral_steps: Annotated[int, typer.Option(help="Steps of integrated-gradients.")] = 50,
    description: Description = None,
    labels: Labels = None,
    async_: Async = False,
) -> Any:
    """Deploy a model's files as a version, and wait until it is ready."""
    parent = model_name(client, model)
    body = {
        "name": version,
        "deploymentUri": _deployed(client, origin, staging_bucket, f"{parent}/{version}"),
        "runtimeVersion": runtime_version,
        "pythonVersion": python_version,
        "framework": framework.upper().replace("-", "_") if framework else None,
        "predictionClass": prediction_class,
        "packageUris": _packages(client, package_uris, staging_bucket, f"{parent}/{version}"),
        "serviceAccount": service_account,
        "machineType": machine_type,
        "explanationConfig": _explanation(explanation_method, num_paths, num_integral_steps),
        "description": description,
        "labels": labels_of(labels),
    }
    operation = client.call(f"{_V}.create", {k: v for k, v in body.items() if v is not None}, parent=parent)
    if async_:
        return operation
    return waiting.result(client, operation, f"Creating version [{version}] of model [{model}]")


def _explanation(method: str | None, paths: int, steps: int) -> dict[str, Any] | None:
    known = {
        "sampled-shapley": {"sampledShapleyAttribution": {"numPaths": paths}},
        "integrated-gradients": {"integratedGradientsAttribution": {"numIntegralSteps": steps}},
        "xrai": {"xraiAttribution": {"numIntegralSteps": steps}},
    }
    if method is not None and method not in known:
        raise Failure("INVALID_ARGUMENT", f"--explanation-method {method} is none of {', '.join(known)}.")
    return known[method] if method else None


def _packages(client: Client, uris: str | None, staging_bucket: str | None, name: str) -> list[str] | None:
    """The gs:// addresses of packages, the local ones uploaded."""
    return [_uploaded(client, uri.strip(), staging_bucket, name) for uri in uris.split(",")] if uris else None


def _uploaded(client: Client, uri: str, staging_bucket: str | None, name: str) -> str:
    if uri.startswith("gs://"):
        return uri
    local = Path(uri)
    if not local.is_file():
        raise Failure("INVALID_ARGUMENT", f"--package-uris {uri} is neither gs://BUCKET/PATH nor a file here.")
    if not staging_bucket:
        raise Failure("INVALID_ARGUMENT", "--package-uris has a local file: name a --staging-bucket for it.")
    from mlgate.cli.transfers import upload_file

    target = f"{name}-{secrets.token_hex(4)}/{local.name}"
    upload_file(client, local, bucket_id(staging_bucket), target)
    return f"gs://{bucket_id(staging_bucket)}/{target}"


def _deployed(client: Client, origin: str, staging_bucket: str | None, name: str) -> str:
    """The gs:// directory of the files, uploaded to a directory of their own when they are local."""
    if origin.startswith("gs://"):
        return origin
    local = Path(origin)
    if not local.is_dir():
        raise Failure("INVALID_ARGUMENT", f"--origin {origin} is neither gs://BUCKET/PATH nor a directory here.")
    if not staging_bucket:
        raise Failure("INVALID_ARGUMENT", "--origin is a local directory: name a bucket for it with --staging-bucket.")
    from mlgate.cli.transfers import upload_directory

    prefix = f"{name}-{secrets.token_hex(4)}/"
    upload_directory(client, local, bucket_id(staging_bucket), prefix)
    return f"gs://{bucket_id(staging_bucket)}/{prefix}"


@verb(group, name="list", columns=("name.basename()", "deploymentUri", "state"))
def list_versions(
    client: Client,
    model: Model,
    filter: Annotated[str | None, typer.Option(help="Such as state=READY.")] = None,
    limit: Limit = None,
) -> Any:
    """List the versions of a model."""
    return client.listed(f"{_V}.list", "versions", {"filter": filter}, limit, parent=model_name(client, model))


@verb(group)
def describe(client: Client, version: Version, model: Model) -> Any:
    """Show a version: its state, and why it failed if it did."""
    return client.call(f"{_V}.get", name=version_name(client, version, model))


@verb(group, columns=usage.COLUMNS)
def metrics(
    client: Client, version: Version, model: Model, since: usage.Since = "1h", every: usage.Every = None
) -> Any:
    """Show how a version is used: requests, failures by HTTP status, latencies."""
    return usage.metrics(client, "mlgate.versions.metrics", version_name(client, version, model), since, every)


@verb(group, columns=("time", "kind", "text", "method", "status", "latency"))
def logs(
    client: Client,
    version: Version,
    model: Model,
    kind: Annotated[str | None, typer.Option(help="SERVER, CONSOLE or ACCESS lines only.")] = None,
    limit: Limit = None,
) -> Any:
    """Show the last lines of a version's log: its deployment, what it prints, how it answered."""
    query = {"kind": kind, "limit": limit}
    return client.call("mlgate.versions.listLogs", query=query, name=version_name(client, version, model)).get(
        "lines", []
    )


@verb(group)
def set_default(client: Client, version: Version, model: Model) -> Any:
    """Make a version the one that predictions on the model use."""
    return client.call(f"{_V}.setDefault", {}, name=version_name(client, version, model))


@verb(group)
def update(
    client: Client,
    version: Version,
    model: Model,
    description: Description = None,
    update_labels: Labels = None,
    bigquery_table_name: Annotated[
        str | None, typer.Option(help="Log requests there: PROJECT.DATASET.TABLE or gs://BUCKET/PREFIX.")
    ] = None,
    sampling_percentage: Annotated[float | None, typer.Option(help="Part of the requests to log, 0 to 1.")] = None,
) -> Any:
    """Change a version's description or labels, or where its requests are logged."""
    name, body, mask = version_name(client, version, model), dict[str, Any](), list[str]()
    if description is not None:
        body["description"] = description
        mask.append("description")
    if update_labels is not None:
        kept = client.call(f"{_V}.get", name=name)
        body |= {"labels": {**kept.get("labels", {}), **(labels_of(update_labels) or {})}, "etag": kept["etag"]}
        mask.append("labels")
    logging = {"bigqueryTableName": bigquery_table_name, "samplingPercentage": sampling_percentage}
    for field, value in logging.items():
        if value is not None:
            body.setdefault("requestLoggingConfig", {})[field] = value
            mask.append(f"requestLoggingConfig.{field}")
    operation = client.call(f"{_V}.patch", body, {"updateMask": ",".join(mask)}, name=name)
    return waiting.result(client, operation, f"Updating version [{version}]")


@verb(group)
def delete(client: Client, version: Version, model: Model) -> Any:
    """Delete a version that is not the default, or is the only one."""
    operation = client.call(f"{_V}.delete", name=version_name(client, version, model))
    waiting.result(client, operation, f"Deleting version [{version}]")
    output.note(f"Deleted version [{version}].")
