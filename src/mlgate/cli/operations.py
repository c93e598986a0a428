"""`mlgate operations`: what takes longer than a call."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output, waiting
from mlgate.cli.client import Client
from mlgate.cli.names import operation_name, project_name
from mlgate.cli.verbs import Limit, verb, words

group = words("Long-running operations: list, wait, cancel.")

Operation = Annotated[str, typer.Argument(metavar="OPERATION", help="The operation's id, or its whole name.")]

_O = "ml.projects.operations"


@verb(group, name="list", columns=("name.basename()", "metadata.operationType", "done"))
def list_operations(
    client: Client,
    filter: Annotated[str | None, typer.Option(help="Such as done=false.")] = None,
    limit: Limit = None,
) -> Any:
    """List the operations of a project."""
    return client.listed(f"{_O}.list", "operations", {"filter": filter}, limit, name=project_name(client.project))


@verb(group)
def describe(client: Client, operation: Operation) -> Any:
    """Show an operation."""
    name = operation_name(client, operation)
    return client.call(waiting.method(name, "get"), name=name)


@verb(group)
def wait(client: Client, operation: Operation) -> Any:
    """Wait until an operation is done, and print what it made."""
    name = operation_name(client, operation)
    return waiting.result(
        client, client.call(waiting.method(name, "get"), name=name), f"Waiting for operation [{operation}]"
    )


@verb(group)
def cancel(client: Client, operation: Operation) -> Any:
    """Ask a running operation to stop."""
    name = operation_name(client, operation)
    client.call(waiting.method(name, "cancel"), name=name)
    output.note(f"Asked operation [{operation}] to stop.")


@verb(group)
def delete(client: Client, operation: Operation) -> Any:
    """Forget an operation that is done."""
    client.call(f"{_O}.delete", name=operation_name(client, operation))
    output.note(f"Deleted operation [{operation}].")
