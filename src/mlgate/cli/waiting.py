"""Waiting for long-running operations, with something to look at on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure

_PATIENCE = 30
_FIRST_WAIT, _LONGEST_WAIT, _GROWTH = 0.05, 2.0, 1.4
#: google.rpc codes by number, as an operation's error carries them.
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def result(
    client: Client, operation: dict[str, Any], what: str, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """The response of an operation once it is done, without its type. Raises Failure with the operation's error."""
    return outcome(wait(client, operation, what, sleep))


def outcome(done: dict[str, Any]) -> dict[str, Any]:
    """The response of a done operation, without its type. Raises Failure with its error."""
    if error := done.get("error"):
        code = int(error.get("code", 2))
        status = _CODES[code] if 0 <= code < len(_CODES) else "UNKNOWN"
        raise Failure(status, str(error.get("message", "The operation failed.")))
    return {k: v for k, v in done.get("response", {}).items() if k != "@type"}


def wait(
    client: Client, operation: dict[str, Any], what: str, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """The operation once it is done. Ctrl-C stops the waiting, not the operation, and says how to go on."""
    pause = _FIRST_WAIT
    try:
        with _spinner(what):
            while not operation.get("done"):
                sleep(pause)
                pause = min(_LONGEST_WAIT, pause * _GROWTH)
                operation = _polled(client, operation, sleep)
    except KeyboardInterrupt:
        output.note(f"No longer waiting; it goes on. To wait again: mlgate operations wait {operation['name']}")
        raise
    return operation


def _polled(client: Client, operation: dict[str, Any], sleep: Callable[[float], None]) -> dict[str, Any]:
    """The operation as it is now. A server that is away for a while, to be restarted, ends no waiting."""
    for _ in range(_PATIENCE):
        try:
            return client.call(method(operation["name"], "get"), name=operation["name"])
        except Failure as failure:
            if failure.status != "UNAVAILABLE":
                raise
        sleep(_LONGEST_WAIT)
    return client.call(method(operation["name"], "get"), name=operation["name"])


def method(name: str, verb: str) -> str:
    """The method for an operation, by its name: those of studies are below a location, and have methods of their
    own."""
    return f"ml.projects{'.locations' if '/locations/' in name else ''}.operations.{verb}"


@contextmanager
def _spinner(what: str) -> Iterator[None]:
    """A spinner on a terminal; one line elsewhere."""
    if not sys.stderr.isatty():
        output.note(f"{what} ...")
        yield
        return
    from rich.console import Console
    from rich.text import Text

    started = time.monotonic()
    with Console(stderr=True).status(Text(output.printable(what))):
        yield
    output.note(f"{what} ... {time.monotonic() - started:.1f} s")
