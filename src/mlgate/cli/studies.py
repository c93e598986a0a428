"""`mlgate studies`: searches for the best parameters of something that is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.names import location_name, study_name
from mlgate.cli.study_files import PARAMETER_HELP, config_of
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import DEFAULT_LOCATION

group = words("Studies: find the best parameters, trial by trial.")

StudyId = Annotated[str, typer.Argument(metavar="STUDY", help="The study's id, or its whole name.")]
Location = Annotated[str, typer.Option(help="The region it was created in; all are this server.")]

_S = "ml.projects.locations.studies"


@verb(group)
def create(
    client: Client,
    study: StudyId,
    config: Annotated[Path | None, typer.Option(help="A StudyConfig as YAML or JSON.", metavar="FILE")] = None,
    parameter: Annotated[list[str] | None, typer.Option(help=PARAMETER_HELP, metavar="SPEC")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="NAME:minimize or NAME:maximize.")] = None,
    algorithm: Annotated[str, typer.Option(help="gp (the default), grid or random.")] = "",
    stopping: Annotated[str, typer.Option(help="Stop hopeless trials: decay, median, decay:time, median:time.")] = "",
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Create a study, from a file or from parameters and metrics; it cannot be changed afterwards."""
    body = {"studyConfig": config_of(config, parameter or [], metric or [], algorithm, stopping)}
    made = client.call(f"{_S}.create", body, {"studyId": study}, parent=location_name(client, location))
    output.note(f"Created study [{made['name']}].")
    return made


@verb(group, name="list", columns=("name.basename()", "state", "studyConfig.metrics.metric", "createTime"))
def list_studies(client: Client, limit: Limit = None, location: Location = DEFAULT_LOCATION) -> Any:
    """List the studies of a project."""
    return client.listed(f"{_S}.list", "studies", limit=limit, parent=location_name(client, location))


@verb(group)
def describe(client: Client, study: StudyId, location: Location = DEFAULT_LOCATION) -> Any:
    """Show a study and its state."""
    return client.call(f"{_S}.get", name=study_name(client, study, location))


@verb(group)
def delete(client: Client, study: StudyId, location: Location = DEFAULT_LOCATION) -> Any:
    """Delete a study with its trials."""
    name = study_name(client, study, location)
    client.call(f"{_S}.delete", name=name)
    output.note(f"Deleted study [{name}].")


@verb(group, columns=("name.basename()", "finalMeasurement.metrics.pairs()", "parameters.pairs()"))
def optimize(
    client: Client,
    study: StudyId,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="What runs a trial.")],
    trials: Annotated[int | None, typer.Option(help="Run at most this many; else until the study has no more.")] = None,
    workers: Annotated[int, typer.Option(help="Trials that run at the same time.", min=1, max=256)] = 1,
    environment: Annotated[
        bool, typer.Option("--environment", help="Give parameters as environment variables, not as --name=value.")
    ] = False,
    client_id: Annotated[str, typer.Option(help="Who runs them; the same one goes on where it was ended.")] = "",
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Run a command of yours for trial after trial, and show the best.

    It gets the parameters as --name=value and prints what it measured: name=value, or a line of JSON. A line that also
    has a step is a measurement on the way. A command that fails is an infeasible trial.
    """
    from mlgate.cli.local_trials import Runner
    from mlgate.vizier_client import Study

    found = Study(study_name(client, study, location), client=client)
    runner = Runner(found, command, environment=environment, say=output.note)
    runner.run(trials, workers, client_id)
    return found.optimal()


@verb(group)
def plot(
    client: Client,
    study: StudyId,
    kind: Annotated[
        str, typer.Option(help="history, parallelCoordinates, slice, paretoFront, importance or contour.")
    ] = "history",
    metric: Annotated[str, typer.Option(help="For importance and contour; else the first.")] = "",
    first: Annotated[str, typer.Option(help="A contour's parameter along x; else the most important one.")] = "",
    second: Annotated[str, typer.Option(help="A contour's parameter along y; else the next in importance.")] = "",
    output_file: Annotated[
        Path | None, typer.Option("--output", help="An .svg or .json file; else the data is printed.", metavar="FILE")
    ] = None,
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Draw what a study has found, or show the data of a plot."""
    if output_file is not None and output_file.suffix not in (".svg", ".json"):
        message = f"{output_file} would be no plot: only .svg and .json can be written. Any browser opens an .svg."
        raise Failure("INVALID_ARGUMENT", message)
    query = {"kind": kind, "metric": metric, "first": first, "second": second}
    shown = client.call(
        "mlgate.studies.plot", query={k: v for k, v in query.items() if v}, name=study_name(client, study, location)
    )
    if output_file is None:
        return shown
    if output_file.suffix == ".json":
        text = json.dumps(shown, indent=2) + "\n"
    else:
        from mlgate.cli.drawings import draw

        text = draw(shown)
    try:
        output_file.write_text(text)
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{output_file} cannot be written: {error.strerror}.") from None
    output.note(f"Wrote {output_file}.")
    return None


@verb(group)
def copy_trials(
    client: Client,
    study: StudyId,
    source: Annotated[str, typer.Option("--from", help="The study whose results are copied.", metavar="STUDY")],
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Begin with what another study found: copy the completed trials whose points exist in this one too."""
    from mlgate.vizier_client import Study

    into = Study(study_name(client, study, location), client=client)
    copied, refused = into.copy_trials(Study(study_name(client, source, location), client=client))
    for why in refused[:10]:
        output.note(f"Left out {why}")
    output.note(f"Copied {copied} trials, left out {len(refused)}.")
