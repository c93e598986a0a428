"""What every command has in common: --project, --format, --log-http, and how it fails.

    @verb(group, columns=("name", "state"))
    def list(client: Client, ...) -> Any: ...

The function gets a client as its first parameter (if it asks for one) and returns the answer to show. The rest of its
parameters are the command's own, as Typer reads them.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import wraps
from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.core.errors import RpcError

Verb = Callable[..., Any]

Project = Annotated[str, typer.Option(help="The project; else MLGATE_PROJECT, else the one that config set saved.")]
Format = Annotated[str, typer.Option(help="yaml, json, table(FIELD,...), csv(...) or value(...).", metavar="FORMAT")]
LogHttp = Annotated[bool, typer.Option("--log-http", help="Print requests and responses, without secrets.")]
Limit = Annotated[int | None, typer.Option(help="Show at most this many.", min=1)]


def words(help: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def verb(
    group: typer.Typer, name: str = "", *, columns: Sequence[str] = (), told: Callable[[Any], str] | None = None
) -> Callable[[Verb], Verb]:
    """Make a function a command of the group, named after it. `columns` are what its table shows; `told` is how a
    person reads the answer, where no format is asked for."""

    def decorate(function: Verb) -> Verb:
        group.command(name or function.__name__.strip("_").replace("_", "-"))(_command(function, columns, told))
        return function

    return decorate


def _command(function: Verb, columns: Sequence[str], told: Callable[[Any], str] | None) -> Verb:
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "client"]
    remote = len(own) < len(signature.parameters)

    def show(answer: Any, format: str) -> None:
        if told is not None and not format:
            print(output.printable(told(answer)))
        else:
            output.show(answer, format, columns)

    @wraps(function)
    def command(context: typer.Context, format: str, project: str = "", log_http: bool = False, **given: Any) -> None:
        with _telling_failures(context):
            if format:
                output.check_format(format)  # before anything is done
            if not remote:
                return show(function(**given), format)
            with closing(_client(context, project, log_http)) as client:
                show(function(client=client, **given), format)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + _shared(remote)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _shared(remote: bool) -> list[inspect.Parameter]:
    """The parameters that every command has, and those of commands that call the server."""
    kind = inspect.Parameter.KEYWORD_ONLY
    local = [
        inspect.Parameter("context", kind, annotation=typer.Context),
        inspect.Parameter("format", kind, default="", annotation=Format),
    ]
    return local + remote * [
        inspect.Parameter("project", kind, default="", annotation=Project),
        inspect.Parameter("log_http", kind, default=False, annotation=LogHttp),
    ]


@contextmanager
def _telling_failures(context: typer.Context) -> Iterator[None]:
    """Failures on standard error, with the command's name as Google's tool tells it, and exit code 1."""
    try:
        yield
    except (Failure, RpcError) as error:
        failure = error if isinstance(error, Failure) else Failure(error.status, error.message, error.fields)
        output.note(failure.told(context.command_path.replace(" ", ".")))
        raise typer.Exit(1) from None
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


def _client(context: typer.Context, project: str, log_http: bool) -> Client:
    before = context.find_root().params  # these options may stand before the first word too
    project = project or before.get("project", "")
    if not (log_http or before.get("log_http")):
        return Client(project)
    from mlgate.cli.wire_log import WireLog

    return Client(project, WireLog())
