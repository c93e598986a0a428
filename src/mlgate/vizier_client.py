"""Run a study from Python: ask for a trial, measure, stop early, complete.

    from mlgate.vizier_client import Study

    study = Study("tuning")
    for trial in study.trials(client_id="worker-1"):
        for step, loss in enumerate(train(**trial.parameters)):
            trial.measure(loss, step=step)
            if trial.should_stop():
                break
        trial.complete()

or, with the loop turned around, `study.optimize(objective, trials=50, workers=4)`, where `objective(trial)` returns the
value of the metric, or of each by name. It signs in as the command line does (MLGATE_SERVER, MLGATE_PROJECT,
MLGATE_TOKEN, or what `mlgate auth login` saved). A worker that starts again under its client id goes on with the trial
that it had.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.waiting import outcome
from mlgate.core.names import DEFAULT_LOCATION, id_of, join

_S = "ml.projects.locations.studies"
_T = f"{_S}.trials"
_FIRST_POLL, _LONGEST_POLL = 0.05, 2.0

Value = float | int | str
#: The value of the only metric, or of each by its name.
Result = float | int | Mapping[str, float]


class Infeasible(Exception):
    """Raised by an objective: these parameters cannot be run, and are not to be tried again."""


class Trial:
    """A trial that this client runs. `parameters` holds the active ones, as numbers and texts."""

    def __init__(self, study: Study, message: Mapping[str, Any]) -> None:
        self.study = study
        self.name: str = message["name"]
        self.id = int(id_of(self.name))
        self.parameters = parameters_of(message)
        self.is_ended = False

    def measure(self, result: Result, *, step: int = 0, seconds: float | None = None) -> None:
        """Report what is measured after some steps; the server adds the time that passed, unless it is given."""
        body = {"measurement": self._measurement(result, step, seconds)}
        self.study.client.call(f"{_T}.addMeasurement", body, name=self.name)

    def should_stop(self) -> bool:
        """Whether the study's rule, or somebody, says that more steps are a waste. The trial is then STOPPING: complete
        it."""
        operation = self.study.client.call(f"{_T}.checkEarlyStoppingState", {}, name=self.name)
        if not self.study.done(operation).get("shouldStop"):
            return False
        self.study.client.call(f"{_T}.stop", {}, name=self.name)
        return True

    def complete(self, result: Result | None = None, *, step: int = 0) -> None:
        """The outcome; without one, the last measurement is it."""
        body = {} if result is None else {"finalMeasurement": self._measurement(result, step, None)}
        self.study.client.call(f"{_T}.complete", body, name=self.name)
        self.is_ended = True

    def infeasible(self, reason: str = "") -> None:
        """These parameters cannot be run, and are not to be tried again."""
        body = {"trialInfeasible": True, "infeasibleReason": reason[:4000]}
        self.study.client.call(f"{_T}.complete", body, name=self.name)
        self.is_ended = True

    def delete(self) -> None:
        """As if it had never been handed out: its point may come again."""
        self.study.client.call(f"{_T}.delete", name=self.name)
        self.is_ended = True

    def _measurement(self, result: Result, step: int, seconds: float | None) -> dict[str, Any]:
        values = result if isinstance(result, Mapping) else {self.study.only_metric: result}
        metrics = [{"metric": name, "value": _number(value)} for name, value in values.items()]
        told: dict[str, Any] = {"metrics": metrics, "stepCount": str(step)}
        return told if seconds is None else {**told, "elapsedTime": f"{seconds:.6f}s"}


class Study:
    """A study that exists, by its id or its whole name."""

    def __init__(
        self, study: str, *, project: str = "", location: str = DEFAULT_LOCATION, client: Client | None = None
    ) -> None:
        self.client = client or Client(project)
        parent = "" if study.startswith("projects/") else f"projects/{self.client.project}/locations/{location}"
        self.name = study if not parent else join(parent, "studies", study)

    @classmethod
    def create(
        cls,
        study: str,
        config: Mapping[str, Any],
        *,
        project: str = "",
        location: str = DEFAULT_LOCATION,
        client: Client | None = None,
    ) -> Study:
        """A new study, or the one of that name where there is one already: the first of many workers makes it."""
        made = cls(study, project=project, location=location, client=client)
        try:
            parent = made.name.rpartition("/studies/")[0]
            made.client.call(f"{_S}.create", {"studyConfig": config}, {"studyId": id_of(made.name)}, parent=parent)
        except Failure as failure:
            if failure.status != "ALREADY_EXISTS":
                raise
        return made

    @cached_property
    def config(self) -> dict[str, Any]:
        """Read once: it never changes."""
        return dict(self.client.call(f"{_S}.get", name=self.name)["studyConfig"])

    @property
    def metrics(self) -> list[str]:
        return [spec["metric"] for spec in self.config["metrics"]]

    @property
    def only_metric(self) -> str:
        """Raises Failure where there are several."""
        if len(self.metrics) > 1:
            raise Failure("INVALID_ARGUMENT", f"Give each metric by name: {', '.join(self.metrics)}.")
        return self.metrics[0]

    def suggest(self, client_id: str, count: int = 1) -> list[Trial]:
        """The client's pending trials, or new ones; none when the study has no more to give."""
        body = {"clientId": client_id, "suggestionCount": count}
        try:
            operation = self.client.call(f"{_T}.suggest", body, parent=self.name)
            given = self.done(operation)
        except Failure as failure:
            if failure.status == "RESOURCE_EXHAUSTED":
                return []
            raise
        if given.get("studyState") == "INACTIVE" and not given.get("trials"):
            reason = self.client.call(f"{_S}.get", name=self.name).get("inactiveReason", "")
            raise Failure("FAILED_PRECONDITION", f"The study is INACTIVE: {reason}")
        return [Trial(self, message) for message in given.get("trials", [])]

    def trials(self, client_id: str = "", limit: int | None = None) -> Iterator[Trial]:
        """One trial after the other, each to be completed before the next, until there are no more or `limit` is
        reached. Raises Failure for one that was left open."""
        client_id = client_id or default_client_id()
        given = 0
        while (limit is None or given < limit) and (found := self.suggest(client_id)):
            given += 1
            yield found[0]
            if not found[0].is_ended:
                raise Failure("FAILED_PRECONDITION", f"Trial {found[0].id} was neither completed nor infeasible.")

    def optimize(
        self,
        objective: Callable[[Trial], Result | None],
        *,
        trials: int | None = None,
        workers: int = 1,
        client_id: str = "",
    ) -> list[dict[str, Any]]:
        """Run an objective on trial after trial, on so many threads; the optimal trials at the end.

        What it returns is the outcome; None makes the last measurement the outcome. `Infeasible` marks the trial so
        and goes on; any other exception marks it too, ends the work and is raised.
        """
        name, tickets = client_id or default_client_id(), _Tickets(trials)
        self.config  # noqa: B018  # read once, before there are threads

        def work(number: int) -> None:
            for trial in self._while_tickets(f"{name}-{number}", tickets):
                try:
                    result = objective(trial)
                except Infeasible as error:
                    trial.infeasible(str(error))
                except BaseException as error:
                    tickets.none_left()
                    if isinstance(error, Exception):
                        trial.infeasible(f"{type(error).__name__}: {error}")
                    raise
                else:
                    if not trial.is_ended:
                        trial.complete(result)

        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(work, number) for number in range(1, workers + 1)]:
                future.result()
        return self.optimal()

    def _while_tickets(self, client_id: str, tickets: _Tickets) -> Iterator[Trial]:
        while tickets.take() and (found := self.suggest(client_id)):
            yield found[0]

    def optimal(self) -> list[dict[str, Any]]:
        """The best trials, as messages."""
        return list(self.client.call(f"{_T}.listOptimalTrials", {}, parent=self.name).get("trials", []))

    def all_trials(self) -> list[dict[str, Any]]:
        """As messages, in their order."""
        return list(self.client.call(f"{_T}.list", parent=self.name).get("trials", []))

    def add(
        self, parameters: Mapping[str, Value], result: Result | None = None, *, infeasible: bool = False
    ) -> dict[str, Any]:
        """A trial of one's own: with its result a known fact, without one the next to be run."""
        body: dict[str, Any] = {"parameters": wire_parameters(self.config, parameters)}
        if infeasible:
            body["trialInfeasible"] = True
        elif result is not None:
            values = result if isinstance(result, Mapping) else {self.only_metric: result}
            body["finalMeasurement"] = {"metrics": [{"metric": n, "value": _number(v)} for n, v in values.items()]}
        return self.client.call(f"{_T}.create", body, parent=self.name)

    def copy_trials(self, source: Study) -> tuple[int, list[str]]:
        """Give this study what another one knows: how many completed trials came over, and for each of the others why
        its point or its metrics do not fit here."""
        copied, refused = 0, []
        kept = ("parameters", "measurements", "finalMeasurement", "trialInfeasible", "infeasibleReason")
        for trial in source.all_trials():
            if trial["state"] != "COMPLETED":
                continue
            body = {field: trial[field] for field in kept if field in trial}
            try:
                self.client.call(f"{_T}.create", {**body, "state": "COMPLETED"}, parent=self.name)
                copied += 1
            except Failure as failure:
                if failure.status != "INVALID_ARGUMENT":
                    raise
                refused.append(f"trial {id_of(trial['name'])}: {failure.message}")
        return copied, refused

    def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The response of an operation, waited for if need be. Raises Failure with its error."""
        pause = _FIRST_POLL
        while not operation.get("done"):
            time.sleep(pause)
            pause = min(_LONGEST_POLL, pause * 1.4)
            operation = self.client.call("ml.projects.locations.operations.get", name=operation["name"])
        return outcome(operation)


class _Tickets:
    """How many trials are still to be run, for all threads together."""

    def __init__(self, left: int | None) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0

    def none_left(self) -> None:
        with self._lock:
            self._left = 0


def default_client_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def parameters_of(trial: Mapping[str, Any]) -> dict[str, Value]:
    """The parameters of a trial's message by name, as numbers and texts."""
    found: dict[str, Value] = {}
    for item in trial.get("parameters", []):
        whole = item.get("intValue")
        found[item["parameter"]] = int(whole) if whole is not None else item.get("floatValue", item.get("stringValue"))
    return found


def wire_parameters(config: Mapping[str, Any], parameters: Mapping[str, Value]) -> list[dict[str, Any]]:
    """`parameters_of` turned around. The server says what does not fit; here only the kinds of values are looked up."""
    kinds = dict(_kinds(config.get("parameters", [])))
    fields = {"INTEGER": "intValue", "CATEGORICAL": "stringValue"}
    out = []
    for name, value in parameters.items():
        field = fields.get(kinds.get(name, ""), "floatValue")
        out.append({"parameter": name, field: value if field == "floatValue" else str(value)})
    return out


def _kinds(specs: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for spec in specs:
        yield spec["parameter"], spec["type"]
        yield from _kinds(spec.get("childParameterSpecs", []))


def _number(value: float) -> float | str:
    """As JSON may carry it: proto3 spells what is no finite number."""
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
