"""What is done beside the server, by whoever may read its data directory: serve, init, tokens, settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from mlgate.settings import Settings

group = typer.Typer(
    help="Set up a server and hand out tokens; needs access to its data directory.", no_args_is_help=True
)

DataDir = Annotated[str | None, typer.Option(help="The server's data directory.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="PostgreSQL address; without it SQLite is used.")]


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    console_port: Annotated[
        int | None, typer.Option(help="Port of the console; 0 takes any free one, -1 leaves it out.", min=-1)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Number of API processes.", min=1)] = None,
    public_url: Annotated[str | None, typer.Option(help="Address that clients use.")] = None,
    database_url: DatabaseUrl = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written once the server answers.")] = None,
) -> None:
    """Run the server until it is told to stop."""
    from mlgate.logs import configure
    from mlgate.serve import Supervisor
    from mlgate.settings import variable

    settings = load_settings(
        data_dir=data_dir,
        host=host,
        port=port,
        console_port=console_port,
        workers=workers,
        public_url=public_url,
        database_url=database_url,
    )
    configure(settings.log_level, role="supervisor")
    is_named = console_port is not None or variable("console_port") in os.environ or bool(settings.console_url)
    raise typer.Exit(Supervisor(settings, ready_file, console_anywhere=not is_named).run())


@group.command()
def init(
    owner: Annotated[str, typer.Option(help="The first Owner, as user:EMAIL.")],
    project: Annotated[str, typer.Option(help="The id of the first project.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Create the database, the organization, and a first project. Refuses to run twice."""
    from mlgate.app import admin

    settings = load_settings(data_dir=data_dir, database_url=database_url)
    admin.initialize(settings, owner, project)
    typer.echo(f"Created project {project} with Owner {owner} in {settings.data_dir}.", err=True)
    typer.echo(f"Next: mlgate serve --data-dir {settings.data_dir}", err=True)


@group.command()
def token(
    principal: Annotated[str, typer.Argument(help="Whom the token speaks for: user:EMAIL or serviceAccount:EMAIL.")],
    data_dir: DataDir = None,
    lifetime: Annotated[str, typer.Option(help="How long it is good for, such as 3600s.")] = "3600s",
    database_url: DatabaseUrl = None,
) -> None:
    """Print a bearer token for a principal. Works while the server runs."""
    from mlgate.app import admin

    bearer, _ = admin.issue_token(
        load_settings(data_dir=data_dir, database_url=database_url), principal, _seconds(lifetime)
    )
    typer.echo(bearer)


@group.command()
def login_link(
    principal: Annotated[str, typer.Argument(help="Whom the link signs in: user:EMAIL.")],
    data_dir: DataDir = None,
    lifetime: Annotated[str, typer.Option(help="How long the session is good for, such as 3600s.")] = "28800s",
    database_url: DatabaseUrl = None,
) -> None:
    """Print a link that signs a person in to the console, once, within ten minutes. Works while the server runs."""
    from mlgate.app import admin

    settings = load_settings(data_dir=data_dir, database_url=database_url)
    code = admin.login_code(settings, principal, _seconds(lifetime))
    address = settings.console_url or admin.console_address(settings)
    typer.echo(f"{address.rstrip('/')}/sign-in#code={code}")


def _seconds(lifetime: str) -> float:
    match = re.fullmatch(r"(\d{1,9})s?", lifetime)
    if not match:
        raise typer.BadParameter(f'"{lifetime}" is no lifetime: write seconds, such as 3600s.', param_hint="--lifetime")
    return float(match.group(1))


def settings() -> list[dict[str, str]]:
    """List every setting, its value, and where it came from."""
    from mlgate.core.errors import InvalidArgument
    from mlgate.settings import explain

    try:
        rows = explain({})
    except ValueError as error:
        raise InvalidArgument(f"{error}.") from None
    return [
        {
            "name": row.name,
            "variable": row.variable,
            "value": re.sub(r"://[^/@]*@", "://***@", str(row.value)),
            "from": row.origin,
            "about": row.about,
        }
        for row in rows
    ]


def load_settings(**given: object) -> Settings:
    from mlgate.settings import load

    try:
        return load(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
