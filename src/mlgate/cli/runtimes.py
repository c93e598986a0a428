"""`mlgate runtimes`: the environments that runtime versions name. Works on the data directory, without the server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.admin import DataDir, load_settings
from mlgate.cli.verbs import verb, words
from mlgate.core.runtimes import CATALOGUE, OLD_PYTHONS, choose, frameworks

group = words("Environments that models run in: what each runtime version holds, and whether it is built.")

RuntimeVersion = Annotated[str, typer.Argument(metavar="RUNTIME_VERSION", help="As versions name it, such as 3.0.")]
PythonVersion = Annotated[str, typer.Option(help="The runtime's Python; without it the catalogue's own is meant.")]
Framework = Annotated[str, typer.Option(help="scikit-learn, xgboost or tensorflow; without it all of them.")]


@verb(group, "list", columns=("name", "runtimeVersion", "pythonVersion", "holds", "state"))
def list_(data_dir: DataDir = None) -> list[dict[str, Any]]:
    """List the environments, and on standard error what the names of the old service stand for."""
    from mlgate.app.environments import environments

    known = environments(load_settings(data_dir=data_dir))
    for note in known.notes():
        output.note(note)
    return known.rows()


@verb(group)
def describe(
    runtime_version: RuntimeVersion,
    python_version: PythonVersion = "",
    framework: Framework = "",
    data_dir: DataDir = None,
) -> list[dict[str, Any]]:
    """Show where models run that ask for a runtime version: the environment, its packages, its lock."""
    from mlgate.app.environments import environments

    known = environments(load_settings(data_dir=data_dir))
    python = python_version or _python_of(runtime_version)
    return [known.describe(runtime_version, python, each) for each in _asked(framework)]


@verb(group)
def build(
    runtime_version: RuntimeVersion,
    python_version: PythonVersion = "",
    framework: Framework = "",
    data_dir: DataDir = None,
) -> list[dict[str, Any]]:
    """Build a runtime version's environments now, so that no deployment waits for it."""
    from mlgate.app.environments import environments

    known = environments(load_settings(data_dir=data_dir))
    python = python_version or _python_of(runtime_version)
    wanted = {choose(runtime_version, python, each).name for each in _asked(framework)}
    for runtime in CATALOGUE:
        if runtime.name in wanted:
            known.builder.build(runtime, output.note)
    return [row for row in known.rows() if row["name"] in wanted]


def _python_of(runtime_version: str) -> str:
    """The Python that a name means when none is said: the catalogue's, else the old service's last."""
    return next((r.python_version for r in CATALOGUE if r.runtime_version == runtime_version), OLD_PYTHONS[-1])


def _asked(framework: str) -> tuple[str, ...]:
    if not framework:
        return frameworks()
    name = framework.upper().replace("-", "_")
    if name not in frameworks():
        shown = ", ".join(each.lower().replace("_", "-") for each in frameworks())
        raise typer.BadParameter(f'"{framework}" is not one of: {shown}.', param_hint="--framework")
    return (name,)
