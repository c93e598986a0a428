"""`mlgate models`: models and who may use them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output, usage, waiting
from mlgate.cli.client import Client
from mlgate.cli.labels import Labels, labels_of
from mlgate.cli.names import model_name, project_name
from mlgate.cli.policies import Kind, add_policy_verbs, wrapped
from mlgate.cli.verbs import Limit, verb, words

group = words("Models: create, describe, share.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's id, or its whole name.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]

_M = "ml.projects.models"


@verb(group)
def create(
    client: Client,
    model: Model,
    description: Description = None,
    labels: Labels = None,
    regions: Annotated[str | None, typer.Option(help="Where it is served from; one region.")] = None,
    enable_logging: Annotated[bool, typer.Option("--enable-logging", help="Log a line for each answer.")] = False,
    enable_console_logging: Annotated[
        bool, typer.Option("--enable-console-logging", help="Keep what its processes print.")
    ] = False,
) -> Any:
    """Create a model. You become its owner."""
    body: dict[str, Any] = {
        "name": model,
        "description": description,
        "labels": labels_of(labels),
        "onlinePredictionLogging": enable_logging or None,
        "onlinePredictionConsoleLogging": enable_console_logging or None,
    }
    if regions:
        body["regions"] = regions.split(",")
    made = client.call(
        f"{_M}.create", {k: v for k, v in body.items() if v is not None}, parent=project_name(client.project)
    )
    output.note(f"Created model [{made['name']}].")
    return made


@verb(group, name="list", columns=("name.basename()", "defaultVersion.name.basename()"))
def list_models(
    client: Client,
    filter: Annotated[str | None, typer.Option(help="Such as labels.team:fraud.")] = None,
    limit: Limit = None,
) -> Any:
    """List the models of a project."""
    return client.listed(f"{_M}.list", "models", {"filter": filter}, limit, parent=project_name(client.project))


@verb(group, columns=("name.basename()", "defaultVersion.name.basename()"))
def search(
    client: Client,
    permission: Annotated[str | None, typer.Option(help="Such as ml.models.predict; else ml.models.get.")] = None,
    limit: Limit = None,
) -> Any:
    """List the models of a project that you may read, or use: those that were shared with you."""
    return client.listed(
        "mlgate.models.search", "models", {"permission": permission}, limit, parent=project_name(client.project)
    )


@verb(group)
def describe(client: Client, model: Model) -> Any:
    """Show a model and its default version."""
    return client.call(f"{_M}.get", name=model_name(client, model))


@verb(group, columns=usage.COLUMNS)
def metrics(client: Client, model: Model, since: usage.Since = "1h", every: usage.Every = None) -> Any:
    """Show how a model is used: requests, failures by HTTP status, latencies."""
    return usage.metrics(client, "mlgate.models.metrics", model_name(client, model), since, every)


@verb(group)
def update(client: Client, model: Model, description: Description = None, update_labels: Labels = None) -> Any:
    """Change a model's description, or add and change labels."""
    name, body, mask = model_name(client, model), dict[str, Any](), list[str]()
    if description is not None:
        body["description"] = description
        mask.append("description")
    if update_labels is not None:
        kept = client.call(f"{_M}.get", name=name)
        body |= {"labels": {**kept.get("labels", {}), **(labels_of(update_labels) or {})}, "etag": kept["etag"]}
        mask.append("labels")
    operation = client.call(f"{_M}.patch", body, {"updateMask": ",".join(mask)}, name=name)
    return waiting.result(client, operation, f"Updating model [{model}]")


@verb(group)
def delete(client: Client, model: Model) -> Any:
    """Delete a model that has no versions."""
    operation = client.call(f"{_M}.delete", name=model_name(client, model))
    waiting.result(client, operation, f"Deleting model [{model}]")


add_policy_verbs(
    group,
    Kind(
        "model",
        lambda client, model: client.call(
            f"{_M}.getIamPolicy", query={"options.requestedPolicyVersion": 3}, resource=model_name(client, model)
        ),
        lambda client, model, policy: client.call(
            f"{_M}.setIamPolicy", wrapped(policy), resource=model_name(client, model)
        ),
        model_name,
    ),
)
