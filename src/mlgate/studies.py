"""Studies in the store: handing out trials, whoever does it, an API process at once or the worker later.

A trial is the record `STUDY/trials/N`. Beside its message the study's record remembers what would otherwise take a look
at all trials:

    next     the number of the next trial; no number is ever given twice, so it also tells whether trials came
             in between (INVARIANT: everybody who adds a trial goes through `add_trial`)
    open     number -> client of each ACTIVE trial, None of each REQUESTED one
    waiting  client -> its running suggest operation, and how many trials it asked for. While there is any, there is a
             task of kind SUGGEST for the study
    deleted  how many COMPLETED trials were deleted
    slow     suggestions are left to the worker
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mlgate.core import lro, trials
from mlgate.core.errors import ResourceExhausted
from mlgate.core.names import id_of, join
from mlgate.core.vizier.study import ACTIVE, COMPLETED, REQUESTED
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Task, Transaction

STUDY, TRIAL, OPERATION, SUGGEST = "study", "trial", "operation", "suggest_trials"
MAX_TRIALS = 1000
#: Inserting is tried so often before points count that were computed without the trials that came in between.
FRESH_TRIES, MOST_TRIES = 1, 12
Json = dict[str, Any]
#: Parameters of trials to be.
Points = list[list[Json]]


def new_study(name: str, parent: str, uid: str, config: Json, now: datetime) -> Record:
    body = {"name": name, "studyConfig": config, "state": "ACTIVE", "createTime": format_timestamp(now)}
    return Record(name, STUDY, parent, uid, body, now, hidden={"next": 1, "open": {}, "waiting": {}})


def trials_of(tx: Transaction, study: str) -> list[Record]:
    """In the order of their numbers."""
    return sorted(tx.children(study, TRIAL), key=lambda record: int(id_of(record.name)))


def add_trial(tx: Transaction, study: Record, trial: Json, now: datetime) -> Record:
    """Store a trial under the next number. The caller stores the study. Raises ResourceExhausted."""
    if not room(tx, study):
        raise ResourceExhausted(f"{study.name} has its {MAX_TRIALS} trials already.")
    number = study.hidden["next"]
    study.hidden["next"] = number + 1
    name = join(study.name, "trials", str(number))
    record = Record(name, TRIAL, study.name, f"{study.uid}.{number}", {"name": name, **trial}, now)
    tx.insert(record)
    note(study, record)
    return record


def note(study: Record, trial: Record, *, gone: bool = False) -> None:
    """Remember in the study whether the trial can be handed out (again), or that it was deleted."""
    if gone and trial.body["state"] == COMPLETED:
        study.hidden["deleted"] = study.hidden.get("deleted", 0) + 1
    number, is_open = id_of(trial.name), trial.body["state"] in (REQUESTED, ACTIVE)
    if is_open and not gone:
        study.hidden["open"][number] = trial.body.get("clientId")
    else:
        study.hidden["open"].pop(number, None)


def room(tx: Transaction, study: Record) -> int:
    return max(0, MAX_TRIALS - tx.count(study.name, TRIAL))


def lacking(tx: Transaction, study: Record, asked: Mapping[str, int]) -> int:
    """How many new points it takes to give each client as many trials as it asks for."""
    if study.body["state"] != "ACTIVE":
        return 0
    held = Counter(study.hidden["open"].values())
    missing = sum(max(0, count - held[client]) for client, count in asked.items()) - held[None]
    return min(missing, room(tx, study)) if missing > 0 else 0


def _stock(study: Record, client: str) -> list[str]:
    """The client's ACTIVE trials, then the REQUESTED ones, each in the order of their numbers."""
    opened = sorted(study.hidden["open"].items(), key=lambda item: int(item[0]))
    mine = [number for number, holder in opened if holder == client]
    return mine + [number for number, holder in opened if holder is None]


def hand_out(
    tx: Transaction, study: Record, client: str, count: int, points: Points, now: datetime, *, is_all: bool = False
) -> list[Json] | None:
    """Up to `count` trials for a client: its own pending ones, then requested ones, then new ones at `points`, which
    are taken from the list. None, and nothing is done, where that takes more points.

    `is_all` says that there are no points but these: a client that gets fewer trials than it asked for then completes
    the study. The caller stores the study. Raises ResourceExhausted when there is no trial and never will be.
    """
    needed = lacking(tx, study, {client: count})
    if needed > len(points) and not is_all:
        return None
    found = []
    for number in _stock(study, client)[:count]:
        record = tx.get(join(study.name, "trials", number))
        assert record is not None
        if record.body["state"] == REQUESTED:
            record.body = trials.handed_out(record.body, client, now)
            tx.update(record)
            note(study, record)
        found.append(record.body)
    if not found and study.body["state"] == COMPLETED:
        raise ResourceExhausted(f"{study.name} is COMPLETED: every point of its space was suggested.")
    if not found and study.body["state"] == "ACTIVE" and not room(tx, study):
        raise ResourceExhausted(f"{study.name} has its {MAX_TRIALS} trials already.")
    for _ in range(min(needed, len(points))):
        needed -= 1
        found.append(add_trial(tx, study, trials.suggested(points.pop(0), client, now), now).body)
    if needed:
        study.body = {**study.body, "state": COMPLETED}
    return found


def told(trial: Record) -> Json:
    """What the optimizer is told of a trial: all but the way to its outcome."""
    fields = ("name", "parameters", "state", "finalMeasurement", "trialInfeasible")
    return {field: trial.body[field] for field in fields if field in trial.body}


def question(study: Record, trials: Sequence[Json], count: int) -> Json:
    """What the optimizer is to be asked for new points. `trials` is what it is told of all of them."""
    return {
        "ask": "suggest", "config": study.body["studyConfig"], "trials": list(trials), "count": count,
        "study": study.name, "next": study.hidden["next"],
    }  # fmt: skip


def untaken(tx: Transaction, study: Record, since: int, points: Points) -> Points:
    """The points that no trial with a number from `since` on has."""
    newer = (tx.get(join(study.name, "trials", str(number))) for number in range(since, study.hidden["next"]))
    taken = {json.dumps(record.body["parameters"]) for record in newer if record is not None}
    return [point for point in points if json.dumps(point) not in taken]


def deactivate(study: Record, reason: str) -> None:
    """An internal error: nothing is suggested any more, and the study says why."""
    study.body = {**study.body, "state": "INACTIVE", "inactiveReason": reason[:2000]}


def response(study: Record, found: list[Json], started: datetime, ended: datetime) -> Json:
    """What a suggest operation gives. The state is always there: clients read it where there are no trials."""
    return {
        "@type": lro.SUGGEST_RESPONSE_TYPE,
        **({"trials": found} if found else {}),
        "studyState": study.body["state"],
        "startTime": format_timestamp(started),
        "endTime": format_timestamp(ended),
    }


def leave_to_worker(tx: Transaction, study: Record, client: str, count: int, operation: str) -> None:
    """The caller stores the study."""
    if not study.hidden["waiting"]:
        _queue(tx, study, operation)
    study.hidden["waiting"][client] = {"operation": operation, "count": count}


def _queue(tx: Transaction, study: Record, operation: str) -> None:
    tx.enqueue(Task(name=operation, kind=SUGGEST, body={"study": study.name, "uid": study.uid}))


def waited(tx: Transaction, study: Record, clients: Sequence[str]) -> None:
    """These clients wait no longer; the others get a task of their own. The caller stores the study."""
    for client in clients:
        study.hidden["waiting"].pop(client, None)
    for entry in list(study.hidden["waiting"].values())[:1]:
        _queue(tx, study, entry["operation"])
