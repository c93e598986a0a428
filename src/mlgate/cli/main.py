"""The command line's beginning: which words there are. Each group of words is a file; heavy imports wait for their use."""

from __future__ import annotations

import sys

import typer

from mlgate.cli import admin

program = typer.Typer(
    name="mlgate",
    help="The machine-learning platform in which every model has an IAM policy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
program.add_typer(admin.group, name="admin")
program.command("serve")(admin.serve)
program.command("settings")(admin.settings)


def main() -> None:
    from mlgate.core.errors import RpcError

    try:
        program()
    except RpcError as error:
        print(f"ERROR: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
