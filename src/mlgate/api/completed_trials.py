"""What this process remembers of completed trials: they never change, and reading the measurements of a thousand anew
for each suggestion, and for each question whether to stop, takes seconds."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from mlgate import studies
from mlgate.core.names import id_of, join
from mlgate.core.vizier.stopping import Curve, completed_curve, has_rule
from mlgate.core.vizier.study import COMPLETED, StudyConfig, Trial
from mlgate.ports import Record, Transaction

#: About so many bytes are remembered, of the studies that were looked at last; a trial without its curve takes some.
MOST_BYTES = 64 << 20
_TRIAL_BYTES = 4096
_MOST_READ = 200  # trials are read one by one up to so many, else all at once


@dataclass(frozen=True)
class CompletedTrial:
    """What the optimizer is told of it, its outcome if it has one, and its curve where the study has a rule."""

    told: dict[str, Any]
    losses: list[float] | None
    curve: Curve | None


@dataclass
class _Study:
    """`trials` by number, None for one that was deleted before it was seen. They hold as long as the study's count of
    completed trials that were deleted stays what it was."""

    deleted: int
    trials: dict[int, CompletedTrial | None] = field(default_factory=dict)
    bytes: int = 0


class CompletedTrials:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._studies: dict[str, _Study] = {}

    def of(self, tx: Transaction, study: Record) -> tuple[list[CompletedTrial], list[Record]]:
        """The completed trials of a study, and the records of the others, each in the order of their numbers."""
        config = StudyConfig.parse(study.body["studyConfig"])
        with self._lock:
            known = self._known(study)
            trials, count = known.trials, study.hidden["next"] - 1
            unknown = [number for number in range(1, count + 1) if number not in trials]
            others: list[Record] = []
            for number, record in _read(tx, study, unknown):
                if record is not None and record.body["state"] != COMPLETED:
                    others.append(record)
                else:
                    trials[number] = None if record is None else _completed(config, record, number)
                    known.bytes += _bytes(trials[number])
            self._forget(study.uid)
            return [trial for number in sorted(trials) if number <= count and (trial := trials[number])], others

    def told(self, tx: Transaction, study: Record) -> list[dict[str, Any]]:
        """What the optimizer is told of all trials, in the order of their numbers."""
        completed, others = self.of(tx, study)
        told = [*(trial.told for trial in completed), *map(studies.told, others)]
        return sorted(told, key=lambda trial: int(id_of(trial["name"])))

    def _known(self, study: Record) -> _Study:
        known = self._studies.pop(study.uid, None)
        deleted = study.hidden.get("deleted", 0)
        if known is None or known.deleted != deleted:
            known = _Study(deleted)
        self._studies[study.uid] = known  # as the one that was looked at last
        return known

    def _forget(self, latest: str) -> None:
        total = sum(known.bytes for known in self._studies.values())
        for uid in list(self._studies):
            if total > MOST_BYTES and uid != latest:
                total -= self._studies.pop(uid).bytes


def _read(tx: Transaction, study: Record, numbers: list[int]) -> list[tuple[int, Record | None]]:
    if len(numbers) <= _MOST_READ:
        return [(number, tx.get(join(study.name, "trials", str(number)))) for number in numbers]
    records = {int(id_of(record.name)): record for record in studies.trials_of(tx, study.name)}
    return [(number, records.get(number)) for number in numbers]


def _completed(config: StudyConfig, record: Record, number: int) -> CompletedTrial:
    told = studies.told(record)
    trial = Trial.parse(config.space, record.body if has_rule(config) else told, number)
    return CompletedTrial(told, trial.losses(config.metrics), completed_curve(config, trial))


def _bytes(trial: CompletedTrial | None) -> int:
    return 100 if trial is None else _TRIAL_BYTES + 16 * len(trial.curve or ())
