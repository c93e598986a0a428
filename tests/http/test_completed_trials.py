"""What an API process remembers of completed trials is what is stored, whatever else happens to the study."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlgate import studies
from mlgate.api import completed_trials
from mlgate.api.completed_trials import CompletedTrials
from mlgate.ports import Record, Transaction
from tests.harness import Server
from tests.http.people import writing
from tests.http.vizier import Json, Study, measurement, number
from tests.vizier.studies import config, double

MEDIAN: Json = {"medianAutomatedStoppingConfig": {}}


def new_study(server: Server) -> Study:
    return Study(server, config(double("x"), algorithm="RANDOM_SEARCH", stopping=MEDIAN))


def look(server: Server, study: Study, memory: CompletedTrials) -> tuple[list[Json], list[Json]]:
    """What is remembered, and what is stored."""
    with writing(server) as tx:
        stored = [studies.told(record) for record in studies.trials_of(tx, _record(tx, study).name)]
        return memory.told(tx, _record(tx, study)), stored


def _record(tx: Transaction, study: Study) -> Record:
    record = tx.get(study.path.removeprefix("/v1/"))
    assert record is not None
    return record


def test_it_is_what_is_stored_after_everything_that_can_happen_to_a_trial(server: Server) -> None:
    study, memory, rng = new_study(server), CompletedTrials(), random.Random(0)
    for step in range(24):
        trials = study.trials()
        match rng.randrange(6):
            case 0 if trials:
                study.http.delete(study.at(rng.choice(trials))).raise_for_status()
            case 1:
                study.create({"x": step / 24}, finalMeasurement=measurement(1.0)).raise_for_status()
            case 2:
                study.create({"x": step / 24}).raise_for_status()
            case 3:
                study.done(study.suggest(f"c{step % 3}")[0], "stop")
            case 4:
                study.done(study.suggest(f"c{step % 3}")[0], "complete", {"trialInfeasible": True})
            case _:
                study.complete(study.suggest(f"c{step % 3}")[0], float(step))
        remembered, stored = look(server, study, memory)
        assert remembered == stored


def test_a_study_that_was_deleted_and_made_again_is_another_one(server: Server) -> None:
    study, memory = new_study(server), CompletedTrials()
    study.complete(study.suggest()[0], 1.0)
    assert len(look(server, study, memory)[0]) == 1
    study.http.delete(study.path).raise_for_status()
    again = {"studyConfig": config(double("x"))}
    study.http.post(study.path.rpartition("/")[0], params={"studyId": study.id}, json=again).raise_for_status()
    assert look(server, study, memory) == ([], [])


def test_what_is_known_is_not_read_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    study, memory = new_study(server), CompletedTrials()
    for n in range(5):
        study.create({"x": n / 5}, finalMeasurement=measurement(1.0)).raise_for_status()
    pending = study.suggest()[0]
    with writing(server) as tx:
        record = _record(tx, study)
        memory.of(tx, record)
        read: list[str] = []
        get = tx.get

        def spy(name: str) -> Record | None:
            read.append(name)
            return get(name)

        monkeypatch.setattr(tx, "get", spy)
        completed, others = memory.of(tx, record)
    assert (len(completed), [number(one.body) for one in others]) == (5, [6])
    assert read == [pending["name"]]


def test_the_studies_that_were_looked_at_last_are_remembered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completed_trials, "MOST_BYTES", 10_000)
    memory, made = CompletedTrials(), [new_study(server) for _ in range(3)]
    for study in made:
        for n in range(2):
            study.create({"x": n / 2}, finalMeasurement=measurement(1.0)).raise_for_status()
        remembered, stored = look(server, study, memory)
        assert remembered == stored
    assert len(memory._studies) == 1
    remembered, stored = look(server, made[0], memory)
    assert remembered == stored


def test_the_rule_hears_of_trials_that_complete_and_of_those_that_are_deleted(server: Server) -> None:
    study = new_study(server)
    known: list[dict[str, Any]] = []
    running = study.suggest("running")[0]
    study.done(running, "addMeasurement", {"measurement": measurement(9.0, 1)})

    def stops() -> bool:
        return bool(study.done(running, "checkEarlyStoppingState")["response"].get("shouldStop", False))

    assert not stops()
    for n in range(3):
        known.append(study.suggest("other")[0])
        study.done(known[-1], "addMeasurement", {"measurement": measurement(float(n), 1)})
        assert not stops(), "it takes three completed trials"
        study.done(known[-1], "complete")
    assert stops()
    study.http.delete(study.at(known[0])).raise_for_status()
    assert not stops()
