"""`--folder NUMBER` or `--organization NUMBER`: where a folder or project is, or is to be."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgate.cli.failure import Failure
from mlgate.core.names import join

Folder = Annotated[str, typer.Option(help="A folder, by its number.", metavar="NUMBER")]
Organization = Annotated[str, typer.Option(help="An organization, by its number; there is one, 1.", metavar="NUMBER")]


def folder_name(folder: str) -> str:
    return join("", "folders", folder.removeprefix("folders/"))


def organization_name(organization: str) -> str:
    return join("", "organizations", organization.removeprefix("organizations/"))


def place_name(folder: str, organization: str) -> str:
    """The one that was given, "" for none. Raises Failure for both."""
    if folder and organization:
        raise Failure("INVALID_ARGUMENT", "Give --folder or --organization, not both.")
    if folder:
        return folder_name(folder)
    return organization_name(organization) if organization else ""


def required_place(folder: str, organization: str) -> str:
    """The same where one must be given."""
    place = place_name(folder, organization)
    if not place:
        raise Failure("INVALID_ARGUMENT", "Give --folder NUMBER or --organization NUMBER.")
    return place
