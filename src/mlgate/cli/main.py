"""The command line's beginning: which words there are. Each group is a file; heavy imports wait for their use."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mlgate import __version__
from mlgate.cli import (
    access,
    admin,
    auth,
    config,
    folders,
    iam,
    identity,
    jobs,
    local,
    models,
    operations,
    organizations,
    predict,
    projects,
    runtimes,
    storage,
    studies,
    trials,
    troubleshoot,
    verbs,
    versions,
)

program = verbs.words("The machine-learning platform in which every model has an IAM policy.")


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlgate {__version__}")
        raise typer.Exit


@program.callback()
def options(
    project: verbs.Project = "",
    log_http: verbs.LogHttp = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Which one.")
    ] = False,
) -> None:
    """The machine-learning platform in which every model has an IAM policy."""


program.add_typer(models.group, name="models")
program.add_typer(versions.group, name="versions")
verbs.verb(program)(predict.predict)
verbs.verb(program)(predict.explain)
program.add_typer(jobs.group, name="jobs")
program.add_typer(local.group, name="local")
program.add_typer(studies.group, name="studies")
program.add_typer(trials.group, name="trials")
program.add_typer(operations.group, name="operations")
program.add_typer(projects.group, name="projects")
program.add_typer(folders.resource_manager, name="resource-manager")
program.add_typer(organizations.group, name="organizations")
program.add_typer(iam.group, name="iam")
program.add_typer(troubleshoot.group, name="policy-troubleshoot")
program.add_typer(access.asset, name="asset")
program.add_typer(identity.group, name="identity")
program.add_typer(storage.group, name="storage")
program.add_typer(auth.group, name="auth")
program.add_typer(config.group, name="config")
program.add_typer(admin.group, name="admin")
program.add_typer(runtimes.group, name="runtimes")
program.command("serve")(admin.serve)
verbs.verb(program, columns=("variable", "value", "from", "about"))(admin.settings)


def main() -> None:
    from mlgate.core.errors import RpcError

    try:
        program(prog_name="mlgate")
    except RpcError as error:
        print(f"ERROR: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
