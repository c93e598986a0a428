"""Jobs: which states they walk through, what a new one must say, and how many processes it is.

    TRANSITIONS is the whole story (api.md 2.6). A step that is not there is an error; a state without steps is an end,
    and has an endTime. FAILED, CANCELLING and CANCELLED say why in errorMessage. `maxWaitTime` cancels a job that does
    not run yet, `maxRunningTime` one that does. The diagram in the reference is drawn from the table.

All of it works on the job's own JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mlgate.core import batch, runtimes
from mlgate.core.errors import FailedPrecondition, InvalidArgument, Unimplemented
from mlgate.core.names import parse_gs_uri
from mlgate.core.versions import PACKAGE_ENDINGS
from mlgate.core.wire import format_timestamp, parse_duration, parse_timestamp

Json = dict[str, Any]

QUEUED, PREPARING, RUNNING = "QUEUED", "PREPARING", "RUNNING"
SUCCEEDED, FAILED, CANCELLING, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"

TRANSITIONS: Mapping[str, frozenset[str]] = {
    QUEUED: frozenset({PREPARING, FAILED, CANCELLING}),
    PREPARING: frozenset({RUNNING, FAILED, CANCELLING}),
    RUNNING: frozenset({SUCCEEDED, FAILED, CANCELLING}),
    CANCELLING: frozenset({CANCELLED, SUCCEEDED, FAILED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

#: The work that a new job leaves for a runner.
RUN_JOB = "run_job"
MOST_PACKAGES = 100
MOST_ARGS, MOST_ARG_BYTES = 1000, 64 << 10
MAX_RUNNING_SECONDS = 604_800.0
LEAST_WAIT_SECONDS = 1800.0
MAX_PRIORITY = 1000
MAX_MESSAGE = 4000
#: master, worker, parameter server, evaluator: how the fields of `trainingInput` begin.
ROLES = ("master", "worker", "parameterServer", "evaluator")
#: What the tiers are made of, in the same order.
TIERS: Mapping[str, tuple[int, int, int, int]] = {"BASIC": (1, 0, 0, 0), "STANDARD_1": (1, 4, 3, 0)}
_LATER_TIERS = {
    "PREMIUM_1": "a cluster of 31 machines",
    "BASIC_GPU": "GPUs",
    "BASIC_TPU": "TPUs",
}
_LATER_FIELDS = ("network", "encryptionConfig", "enableWebAccess")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_REGION = re.compile(r"[a-z]{2,20}-[a-z]{2,20}\d{1,2}|global")
_MACHINE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ACCELERATED = re.compile(r"gpu|tpu|_[kptv]\d{1,3}|^a2-|^g2-|^cloud_")


# ----------------------------------------------------------------------------------------------------------- states


def is_ended(job: Mapping[str, Any]) -> bool:
    return not TRANSITIONS[job["state"]]


def move(job: Json, to: str, now: datetime, message: str = "") -> Json:
    """The job in its next state, with the time of its start or end. Raises FailedPrecondition for a step that is not in
    the table."""
    state = job["state"]
    if to not in TRANSITIONS.get(state, frozenset()):
        raise FailedPrecondition(f"The job is {state} and cannot become {to}.")
    moved = {**job, "state": to}
    if to == RUNNING:
        moved["startTime"] = format_timestamp(now)
    if not TRANSITIONS[to]:
        moved["endTime"] = format_timestamp(now)
    if message and to in (FAILED, CANCELLING, CANCELLED):
        moved["errorMessage"] = message[:MAX_MESSAGE]
    if to == SUCCEEDED:
        moved.pop("errorMessage", None)
    return moved


def cancel(job: Json, now: datetime, message: str) -> Json:
    """Asked to stop. A queued job has nothing to stop and ends at once; one that is stopping already stays as it is.
    Raises FailedPrecondition for a job that has ended."""
    if job["state"] == CANCELLING:
        return job
    if is_ended(job):
        raise FailedPrecondition(f"The job is {job['state']}: it has ended and cannot be cancelled.")
    stopping = move(job, CANCELLING, now, message)
    return move(stopping, CANCELLED, now) if job["state"] == QUEUED else stopping


def diagram() -> str:
    """The table as a drawing in Mermaid's words."""
    lines = ["stateDiagram-v2", "    [*] --> QUEUED"]
    for state, following in TRANSITIONS.items():
        lines += [f"    {state} --> {to}" for to in TRANSITIONS if to in following] or [f"    {state} --> [*]"]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------------- time


def wait_deadline(job: Mapping[str, Any]) -> datetime | None:
    """When a job that does not run yet is given up; None for never."""
    seconds = job.get("trainingInput", {}).get("scheduling", {}).get("maxWaitTime")
    if not seconds:
        return None
    return parse_timestamp(job["createTime"]) + timedelta(seconds=parse_duration(seconds))


def running_seconds(job: Mapping[str, Any]) -> float:
    """How long the job may run."""
    seconds = job.get("trainingInput", {}).get("scheduling", {}).get("maxRunningTime")
    return parse_duration(seconds) if seconds else MAX_RUNNING_SECONDS


def priority(job: Mapping[str, Any]) -> int:
    return int(job.get("trainingInput", {}).get("scheduling", {}).get("priority") or 0)


def task_name(name: str, job: Mapping[str, Any], created: datetime, uid: str) -> str:
    """Tasks are claimed in the order of their names: the highest priority first, then whoever came first."""
    return f"{RUN_JOB}/{MAX_PRIORITY - priority(job):04d}/{created:%Y%m%d%H%M%S%f}/{uid}/{name}"


# -------------------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of a job or trial: its role in the cluster, its number there, and its name in logs."""

    role: str
    index: int

    @property
    def task_name(self) -> str:
        return f"{_SPOKEN[self.role]}-replica-{self.index}"

    @property
    def is_master(self) -> bool:
        return self.role == "master"


_SPOKEN = {"master": "master", "worker": "worker", "parameterServer": "ps", "evaluator": "evaluator"}


def counts(training: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """How many masters, workers, parameter servers and evaluators."""
    if training["scaleTier"] != "CUSTOM":
        return TIERS[training["scaleTier"]]
    workers, servers, evaluators = (int(training.get(f"{role}Count") or 0) for role in ROLES[1:])
    return 1, workers, servers, evaluators


def replicas(training: Mapping[str, Any]) -> list[Replica]:
    return [Replica(role, index) for role, count in zip(ROLES, counts(training), strict=True) for index in range(count)]


def tf_config(training: Mapping[str, Any], replica: Replica, addresses: Sequence[str], trial: str, job: Json) -> Json:
    """The environment variable TF_CONFIG of a process; `addresses` are those of `replicas`, in their order.

    From runtime 2.1 on the first machine is the `chief`, before it was the `master`.
    """
    first = "chief" if _is_newer(training.get("runtimeVersion", "")) else "master"
    names = {**_SPOKEN, "master": first}
    cluster: dict[str, list[str]] = {}
    for each, address in zip(replicas(training), addresses, strict=True):
        if each.role != "evaluator":  # an evaluator is not part of the training cluster
            cluster.setdefault(names[each.role], []).append(address)
    task: Json = {"type": names[replica.role], "index": replica.index}
    if trial:
        task["trial"] = trial
    return {"cluster": cluster, "task": task, "job": job, "environment": "cloud"}


def _is_newer(runtime_version: str) -> bool:
    major, _, minor = runtime_version.partition(".")
    return not (major.isdigit() and minor.isdigit()) or (int(major), int(minor)) >= (2, 1)


# --------------------------------------------------------------------------------------------------------- new jobs


def check_new(job: Mapping[str, Any], slots: int) -> None:
    """Raises InvalidArgument for a field that is missing or wrong, Unimplemented for what this server has not;
    `slots` are the processes that it can run at once."""
    training, batch_input = job.get("trainingInput"), job.get("predictionInput")
    if (training is None) == (batch_input is None):
        raise _refuse("job", "A job has either a trainingInput or a predictionInput.")
    if batch_input is not None:
        batch.check(batch_input)
    else:
        check_training(training or {}, slots)


def check_training(training: Mapping[str, Any], slots: int) -> None:
    for field in _LATER_FIELDS:
        if training.get(field):
            raise Unimplemented(f"TrainingInput.{field} is not implemented by this server.")
    for role in ROLES:
        for field in training.get(f"{role}Config") or ():
            raise Unimplemented(f"TrainingInput.{role}Config.{field} is not implemented by this server.")
    _check_tier(training, slots)
    _check_program(training)
    _check_scheduling(training.get("scheduling") or {})
    if not _REGION.fullmatch(training.get("region") or ""):
        given = (training.get("region") or "")[:50]
        raise _refuse("region", f'region "{given}" is no region: give one such as us-central1.')
    if "jobDir" in training:
        parse_gs_uri(training["jobDir"], _FIELD + "jobDir")
    account = training.get("serviceAccount", "")
    if account and not re.fullmatch(r"[^@\s/]+@[^@\s/]+", account):
        raise _refuse("serviceAccount", f'serviceAccount "{account[:100]}" is not the address of a service account.')


def _check_tier(training: Mapping[str, Any], slots: int) -> None:
    tier = training.get("scaleTier")
    if not tier:
        raise _refuse("scaleTier", f"scaleTier is required: one of {', '.join([*TIERS, 'CUSTOM'])}.")
    if tier in _LATER_TIERS:
        raise Unimplemented(f"scaleTier {tier} needs {_LATER_TIERS[tier]}, which this server does not offer.")
    for role in ROLES:
        kind, count = training.get(f"{role}Type", ""), int(training.get(f"{role}Count") or 0)
        if tier != "CUSTOM" and (kind or count):
            field = f"{role}Type" if kind else f"{role}Count"
            raise _refuse(field, f"{field} goes with scaleTier CUSTOM only.")
        if kind and not _MACHINE.fullmatch(kind):
            raise _refuse(f"{role}Type", f'{role}Type "{kind[:80]}" is no machine type, such as n1-standard-4.')
        if _ACCELERATED.search(kind):
            raise Unimplemented(f"{role}Type {kind} has accelerators, which this server does not offer.")
        if count < 0:
            raise _refuse(f"{role}Count", f"{role}Count is {count}; it must not be negative.")
        if count and not kind:
            raise _refuse(f"{role}Type", f"{role}Count needs {role}Type.")
        if kind and not count and role != "master":
            raise _refuse(f"{role}Count", f"{role}Type needs {role}Count, from 1.")
    if tier == "CUSTOM" and not training.get("masterType"):
        raise _refuse("masterType", "scaleTier CUSTOM needs masterType.")
    if int(training.get("evaluatorCount") or 0) > 1:
        raise _refuse("evaluatorCount", "There is one evaluator at most.")
    needed = sum(counts(training))
    if needed > slots:
        made_of = ", ".join(f"{n} {role}" for n, role in zip(counts(training), ROLES, strict=True) if n)
        message = (
            f"scaleTier {tier} is {needed} processes here ({made_of}); this server runs at most {slots} at once "
            "(MLGATE_RUNNER_SLOTS)."
        )
        raise _refuse("scaleTier", message)


def _check_program(training: Mapping[str, Any]) -> None:
    uris = training.get("packageUris") or []
    if not uris:
        raise _refuse("packageUris", "packageUris is required: the gs:// addresses of the program's packages.")
    if len(uris) > MOST_PACKAGES:
        raise _refuse("packageUris", f"packageUris holds {len(uris)} packages; {MOST_PACKAGES} are allowed.")
    for i, uri in enumerate(uris):
        field = f"packageUris[{i}]"
        parse_gs_uri(uri, _FIELD + field)
        if not uri.endswith(PACKAGE_ENDINGS):
            raise _refuse(field, f'packageUris "{uri[:300]}" is neither a .tar.gz source archive nor a .whl wheel.')
    module = training.get("pythonModule") or ""
    if not (len(module) <= 500 and _MODULE.fullmatch(module)):
        raise _refuse("pythonModule", f'pythonModule "{module[:100]}" is not of the form PACKAGE.MODULE.')
    args = training.get("args") or []
    if len(args) > MOST_ARGS or sum(len(arg.encode()) for arg in args) > MOST_ARG_BYTES:
        raise _refuse("args", f"args holds more than {MOST_ARGS} arguments or {MOST_ARG_BYTES} bytes.")
    for field, example in (("runtimeVersion", "2.11"), ("pythonVersion", "3.7")):
        value = training.get(field, "")
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}", value):
            raise _refuse(field, f'{field} "{value[:50]}" is not a version such as {example}.')
    try:
        runtimes.check(training["runtimeVersion"], training["pythonVersion"])
    except InvalidArgument as error:
        fields = [(field.replace("version.", _FIELD), message) for field, message in error.fields]
        raise InvalidArgument(error.message, fields=fields) from None


def _check_scheduling(scheduling: Mapping[str, Any]) -> None:
    running, waiting = scheduling.get("maxRunningTime"), scheduling.get("maxWaitTime")
    if running is not None and not 0 < parse_duration(running) <= 10 * MAX_RUNNING_SECONDS:
        raise _refuse("scheduling.maxRunningTime", f"maxRunningTime is {running}; it must be positive, such as 3600s.")
    if waiting is not None and parse_duration(waiting) < LEAST_WAIT_SECONDS:
        raise _refuse("scheduling.maxWaitTime", f"maxWaitTime is {waiting}; it must be at least 1800s.")
    if not 0 <= (scheduling.get("priority") or 0) <= MAX_PRIORITY:
        message = f"priority is {scheduling['priority']}; it must be between 0 and {MAX_PRIORITY}."
        raise _refuse("scheduling.priority", message)


_FIELD = "job.trainingInput."


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field if field == "job" else _FIELD + field, message)])


# ---------------------------------------------------------------------------------------------------------- outcome


def ml_units(seconds: float, processes: int) -> float:
    """What trainingOutput.consumedMLUnits says: hours of processes."""
    return round(seconds * processes / 3600, 4)


def first_lines(reasons: Iterable[str]) -> str:
    """Reasons of several processes as one message, each once."""
    return " ".join(dict.fromkeys(reasons))
