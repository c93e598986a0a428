"""`--labels key=value,key=value`."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgate.cli.failure import Failure

Labels = Annotated[
    str | None, typer.Option(help="KEY=VALUE, several with commas between them.", metavar="KEY=VALUE,...")
]


def labels_of(text: str | None) -> dict[str, str] | None:
    """The labels, or None when none were given. Raises Failure."""
    if text is None:
        return None
    found = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Failure("INVALID_ARGUMENT", f'"{pair}" is no label: write KEY=VALUE.')
        found[key.strip()] = value.strip()
    return found
