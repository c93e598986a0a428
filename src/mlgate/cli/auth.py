"""`mlgate auth`: signing in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import configuration, credentials, output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import verb, words

group = words("Sign in, and see as whom.")


@verb(group)
def login(
    client: Client,
    key_file: Annotated[Path | None, typer.Option(help="A service account's key file.")] = None,
    token: Annotated[
        str | None, typer.Option(help="-, to read a bearer token from standard input.", metavar="-")
    ] = None,
) -> Any:
    """Sign in with a service account's key, or with a token from standard input."""
    if (key_file is None) == (token is None):
        raise Failure("INVALID_ARGUMENT", "Give one of --key-file FILE and --token -.")
    if key_file is not None:
        key = credentials.read_key(key_file)
        credentials.refresh(key, client.post_form)
        output.note(f"Signed in as [{key['client_email']}].")
        return
    if token != "-":
        raise Failure(
            "INVALID_ARGUMENT", "A token on the command line can be read by others: give --token - and pipe it in."
        )
    credentials.save_token(sys.stdin.read().strip())
    output.note("Signed in with a token.")


@verb(group)
def print_access_token(client: Client) -> Any:
    """Print a bearer token for the API, for use in another program."""
    print(client.bearer)


@verb(group, name="list")
def list_credentials() -> Any:
    """Show how you are signed in."""
    found = credentials.described()
    if not found:
        raise Failure("UNAUTHENTICATED", "You are not signed in.")
    return found


@verb(group)
def revoke() -> Any:
    """Forget what auth login saved."""
    saved = configuration.remove(configuration.CREDENTIALS)
    output.note("Signed out." if saved else "Nobody was signed in.")
