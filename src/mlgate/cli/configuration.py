"""What the command line remembers: a server, a project, and how one signed in.

The environment (MLGATE_SERVER, MLGATE_TOKEN, MLGATE_PROJECT) comes before what is saved, and an option on the command
line before both. Files are in the XDG configuration directory, readable by their owner alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlgate.cli.failure import Failure

#: Property -> its environment variable and what it is.
PROPERTIES: Mapping[str, tuple[str, str]] = {
    "server": ("MLGATE_SERVER", "Address of the server, such as https://ml.example.com."),
    "project": ("MLGATE_PROJECT", "The project that names without one belong to."),
}
TOKEN_VARIABLE = "MLGATE_TOKEN"
CONFIGURATION, CREDENTIALS = "config.json", "credentials.json"


def directory() -> Path:
    """Where the files are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mlgate"


def read(name: str) -> dict[str, Any]:
    """A saved file; empty when there is none."""
    place = directory() / name
    try:
        saved = json.loads(place.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure("FAILED_PRECONDITION", f"{place} cannot be read: {error}.") from None
    if not isinstance(saved, dict):
        raise Failure("FAILED_PRECONDITION", f"{place} is no JSON object; delete it and set it up again.")
    return saved


def write(name: str, value: Mapping[str, Any]) -> Path:
    """Replace a saved file. Its mode is 0600 from the first byte on."""
    place = directory()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, scratch = tempfile.mkstemp(dir=place)  # mkstemp makes it 0600
    try:
        with os.fdopen(number, "w") as file:
            json.dump(value, file, indent=2)
        os.replace(scratch, place / name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(scratch)
        raise
    return place / name


def remove(name: str) -> bool:
    """Forget a saved file; whether there was one."""
    try:
        (directory() / name).unlink()
    except FileNotFoundError:
        return False
    return True


def check_property(name: str) -> str:
    if name not in PROPERTIES:
        raise Failure("INVALID_ARGUMENT", f'"{name}" is no property: use {" or ".join(PROPERTIES)}.')
    return name


def lookup(name: str) -> tuple[str, str]:
    """A property's value and where it comes from; ("", "") when it is not set."""
    variable, _ = PROPERTIES[name]
    if value := os.environ.get(variable):
        return value, variable
    value = str(read(CONFIGURATION).get(name, ""))
    return value, "config" if value else ""


def require(name: str) -> str:
    """A property's value. Raises Failure that says how to set it."""
    value, _ = lookup(name)
    if not value:
        raise Failure(
            "FAILED_PRECONDITION",
            f"The property {name} is not set. Set it with: mlgate config set {name} VALUE, or {PROPERTIES[name][0]}.",
        )
    return value
