"""`mlgate trials`: what a study tries, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlgate.cli import output, waiting
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.names import study_name, trial_name
from mlgate.cli.studies import Location
from mlgate.cli.verbs import Limit, verb, words
from mlgate.core.names import DEFAULT_LOCATION, id_of

group = words("Trials of a study: suggest, measure, complete.")

StudyOf = Annotated[str, typer.Option("--study", help="The study that the trial belongs to.")]
TrialId = Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's number, or its whole name.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="NAME=VALUE, once for each.", metavar="NAME=VALUE")]
Step = Annotated[int, typer.Option(help="How many steps were done.", min=0)]

_T = "ml.projects.locations.studies.trials"
_COLUMNS = ("name.basename()", "state", "clientId", "finalMeasurement.metrics.pairs()", "parameters.pairs()")


@verb(group, columns=_COLUMNS)
def suggest(
    client: Client,
    study: StudyOf,
    client_id: Annotated[str, typer.Option(help="Who runs it: the same one gets the same pending trial.")],
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 1,
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Get trials to run: your pending ones, or new ones."""
    body = {"clientId": client_id, "suggestionCount": count}
    operation = client.call(f"{_T}.suggest", body, parent=study_name(client, study, location))
    given = waiting.result(client, operation, f"Waiting for trials of [{study}]") if not operation.get("done") else None
    answer = given if given is not None else waiting.outcome(operation)
    if not answer.get("trials"):
        output.note(f"No trials: the study is {answer['studyState']}.")
    return answer.get("trials", [])


@verb(group)
def create(
    client: Client,
    study: StudyOf,
    parameter: Annotated[list[str], typer.Option(help="NAME=VALUE, once for each.", metavar="NAME=VALUE")],
    metric: Metrics = None,
    infeasible: Annotated[bool, typer.Option("--infeasible", help="It is known that this cannot be run.")] = False,
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Add a trial of your own: with metrics it is a known result, without it is the next to be run."""
    from mlgate.vizier_client import Study

    into = Study(study_name(client, study, location), client=client)
    parameters: dict[str, Any] = {name: _number_or_text(value) for name, value in map(_pair, parameter)}
    return into.add(parameters, _values(metric) or None, infeasible=infeasible)


@verb(group, name="list", columns=_COLUMNS)
def list_trials(client: Client, study: StudyOf, limit: Limit = None, location: Location = DEFAULT_LOCATION) -> Any:
    """List the trials of a study."""
    return client.listed(f"{_T}.list", "trials", limit=limit, parent=study_name(client, study, location))


@verb(group)
def describe(client: Client, trial: TrialId, study: StudyOf = "", location: Location = DEFAULT_LOCATION) -> Any:
    """Show a trial, its parameters and measurements."""
    return client.call(f"{_T}.get", name=_named(client, trial, study, location))


@verb(group)
def add_measurement(
    client: Client,
    trial: TrialId,
    metric: Metrics = None,
    step: Step = 0,
    study: StudyOf = "",
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Report what was measured on the way."""
    body = {"measurement": _measurement(metric, step)}
    return client.call(f"{_T}.addMeasurement", body, name=_named(client, trial, study, location))


@verb(group)
def complete(
    client: Client,
    trial: TrialId,
    metric: Metrics = None,
    step: Step = 0,
    infeasible: Annotated[bool, typer.Option("--infeasible", help="It cannot be run; not to be tried again.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is infeasible.")] = "",
    study: StudyOf = "",
    location: Location = DEFAULT_LOCATION,
) -> Any:
    """Report the result; without metrics the last measurement is it."""
    body: dict[str, Any] = {"finalMeasurement": _measurement(metric, step)} if metric else {}
    if infeasible:
        body["trialInfeasible"] = True
    if reason:
        body["infeasibleReason"] = reason
    return client.call(f"{_T}.complete", body, name=_named(client, trial, study, location))


@verb(group)
def stop(client: Client, trial: TrialId, study: StudyOf = "", location: Location = DEFAULT_LOCATION) -> Any:
    """Ask whoever runs the trial to end it."""
    return client.call(f"{_T}.stop", {}, name=_named(client, trial, study, location))


@verb(group)
def check_early_stopping(
    client: Client, trial: TrialId, study: StudyOf = "", location: Location = DEFAULT_LOCATION
) -> Any:
    """Ask whether a trial should be stopped."""
    operation = client.call(f"{_T}.checkEarlyStoppingState", {}, name=_named(client, trial, study, location))
    return {"shouldStop": bool(waiting.outcome(operation).get("shouldStop"))}


@verb(group)
def delete(client: Client, trial: TrialId, study: StudyOf = "", location: Location = DEFAULT_LOCATION) -> Any:
    """Delete a trial, as if it had never been."""
    name = _named(client, trial, study, location)
    client.call(f"{_T}.delete", name=name)
    output.note(f"Deleted trial [{id_of(name)}].")


@verb(group, columns=_COLUMNS)
def list_optimal(client: Client, study: StudyOf, location: Location = DEFAULT_LOCATION) -> Any:
    """List the best trials; with several metrics those that no other one beats in all."""
    parent = study_name(client, study, location)
    return client.call(f"{_T}.listOptimalTrials", {}, parent=parent).get("trials", [])


def _named(client: Client, trial: str, study: str, location: str) -> str:
    if not study and not trial.startswith("projects/"):
        raise Failure("INVALID_ARGUMENT", f'"{trial}" is the number of a trial: name its study with --study.')
    return trial_name(client, trial, study, location)


def _measurement(metric: list[str] | None, step: int) -> dict[str, Any]:
    values = _values(metric)
    if not values:
        raise Failure("INVALID_ARGUMENT", "--metric NAME=VALUE is required.")
    return {"stepCount": str(step), "metrics": [{"metric": name, "value": value} for name, value in values.items()]}


def _values(metric: list[str] | None) -> dict[str, float]:
    values = {}
    for name, text in map(_pair, metric or []):
        try:
            values[name] = float(text)
        except ValueError:
            raise Failure("INVALID_ARGUMENT", f'"{text}" is no number for the metric {name}.') from None
    return values


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise Failure("INVALID_ARGUMENT", f'"{text}" is not of the form NAME=VALUE.')
    return name, value


def _number_or_text(text: str) -> float | str:
    try:
        return float(text) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        return text
