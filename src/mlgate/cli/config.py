"""`mlgate config`: what the command line remembers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import configuration, output
from mlgate.cli.configuration import CONFIGURATION, PROPERTIES, check_property, lookup, read, write
from mlgate.cli.verbs import verb, words

group = words("The server and project that commands use.")

Property = Annotated[str, typer.Argument(metavar="PROPERTY", help="server or project.")]


@verb(group)
def set(name: Property, value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")]) -> Any:
    """Remember a property."""
    place = write(CONFIGURATION, {**read(CONFIGURATION), check_property(name): value})
    output.note(f"Updated property [{name}] in {place}.")
    variable, _ = PROPERTIES[name]
    if lookup(name) != (value, "config"):
        output.note(f"{variable} is set and comes before it.")


@verb(group)
def get(name: Property) -> Any:
    """Print a property: the value that commands use."""
    print(lookup(check_property(name))[0])


@verb(group, name="list", columns=("property", "value", "from"))
def list_properties() -> Any:
    """List the properties, and where each comes from."""
    found = {name: lookup(name) for name in PROPERTIES}
    return [{"property": name, "value": value, "from": origin} for name, (value, origin) in found.items()]


@verb(group)
def unset(name: Property) -> Any:
    """Forget a property."""
    write(CONFIGURATION, {k: v for k, v in read(CONFIGURATION).items() if k != check_property(name)})
    output.note(f"Unset property [{name}] in {configuration.directory()}.")
