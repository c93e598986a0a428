"""Studies and trials over HTTP: the behaviours that clients of the `ml` v1 API rely on, one test each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mlgate.core.trials import MAX_MEASUREMENTS
from mlgate.ports import Record
from mlgate.studies import MAX_TRIALS, add_trial
from tests.harness import OWNER, PROJECT, Server
from tests.http.people import Api, error_of, writing
from tests.http.vizier import LOCATION, Json, Study, measurement, number, point, wire
from tests.vizier.studies import TREE, category, child, config, discrete, double, integer, parent

X = config(double("x"))
FINITE = config(category("c", "a", "b"), integer("n", 1, 2))
DECAY: Json = {"decayCurveStoppingConfig": {"useElapsedTime": True}}
MEDIAN: Json = {"medianAutomatedStoppingConfig": {"useElapsedTime": False}}


def create(server: Server, study_config: Json, study_id: str = "") -> httpx.Response:
    study_id = study_id or f"s{uuid.uuid4().hex[:12]}"
    return server.http().post(f"{LOCATION}/studies", params={"studyId": study_id}, json={"studyConfig": study_config})


# ---------------------------------------------------------------------------------------------------------- studies


def test_a_study_is_created_read_listed_and_deleted(server: Server) -> None:
    study = Study(server, X)
    read = study.http.get(study.path).json()
    assert read["name"] == study.path.removeprefix("/v1/")
    assert read["state"] == "ACTIVE"
    assert read["createTime"].endswith("Z")
    assert read["studyConfig"]["parameters"][0]["doubleValueSpec"] == {"minValue": 0.0, "maxValue": 1.0}
    listed = study.http.get(f"{LOCATION}/studies").json()
    assert study.id in [s["name"].rpartition("/")[2] for s in listed["studies"]]
    assert "nextPageToken" not in listed
    assert study.http.delete(study.path).json() == {}
    assert study.http.get(study.path).status_code == 404
    assert study.http.delete(study.path).status_code == 404


def test_a_study_that_exists_answers_409_and_can_then_be_read(server: Server) -> None:
    study = Study(server, X)
    again = create(server, X, study.id)
    assert (again.status_code, error_of(again)["status"]) == (409, "ALREADY_EXISTS")
    assert study.http.get(study.path).status_code == 200


def test_the_study_id_is_required_and_has_a_form(server: Server) -> None:
    for study_id in ("1abc", "a b", "x" * 129):
        answer = create(server, X, study_id)
        assert (answer.status_code, "studyId" in answer.text) == (400, True)
    assert server.http().post(f"{LOCATION}/studies", json={"studyConfig": X}).status_code == 400


def test_every_region_is_this_server_and_other_names_are_none(server: Server) -> None:
    http = server.http()
    for location, status in (("europe-west4", 200), ("global", 200), ("nowhere", 404)):
        place = f"/v1/projects/{PROJECT}/locations/{location}/studies"
        made = http.post(place, params={"studyId": f"s{uuid.uuid4().hex[:8]}"}, json={"studyConfig": X})
        assert made.status_code == status, made.text
        assert http.get(place).status_code == status


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "studyConfig"),
        ({"metrics": [{"metric": "y"}]}, "parameters"),
        ({**X, "metrics": []}, "metrics"),
        (config({"parameter": "x", "type": "PARAMETER_TYPE_UNSPECIFIED"}), "type"),
        (config(double("x"), algorithm="GRID_SEARCH"), "algorithm"),
        (config(double("x", 0.0, 1.0, "UNIT_LOG_SCALE")), "scaleType"),
        (config(discrete("d", 2.0, 1.0)), "discreteValueSpec"),
        (config(discrete("d", *map(float, range(1001)))), "discreteValueSpec"),
        (config(double("x"), double("x")), "parameter"),
        (config(parent(double("x"), child(double("z"), 0.5))), "childParameterSpecs"),
        (config(parent(category("c", "a"), child(double("z"), "b"))), "parentCategoricalValues"),
        (config(parent(category("c", "a", "b"), child(double("z"), "a"), child(integer("z", 1, 2), "a"))), "parameter"),
        (config(double("x"), stopping={**DECAY, **MEDIAN}), "automatedStoppingConfig"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_the_field(server: Server, wrong: Json, named: str) -> None:
    answer = create(server, wrong)
    assert answer.status_code == 400, answer.text
    fields = [v["field"] for d in error_of(answer).get("details", []) for v in d.get("fieldViolations", [])]
    assert any(named in field for field in fields), fields


def test_both_spellings_are_read_and_camel_case_is_answered(server: Server) -> None:
    study_id = f"s{uuid.uuid4().hex[:12]}"
    snake = {
        "study_config": {
            "parameters": [
                {"parameter": "x", "type": "DOUBLE", "double_value_spec": {"min_value": 0, "max_value": 1}},
                {"parameter": "n", "type": "INTEGER", "integer_value_spec": {"min_value": 1, "max_value": "9"}},
            ],
            "metrics": [{"metric": "y", "goal": "MINIMIZE"}],
            "automated_stopping_config": {"decay_curve_stopping_config": {"use_elapsed_time": True}},
        }
    }
    http = server.http()
    made = http.post(f"{LOCATION}/studies", params={"studyId": study_id}, json=snake)
    assert made.json()["studyConfig"]["parameters"][1]["integerValueSpec"] == {"minValue": "1", "maxValue": "9"}
    path = f"{LOCATION}/studies/{study_id}"
    operation = http.post(f"{path}/trials:suggest", json={"client_id": "c", "suggestion_count": 1}).json()
    assert operation["metadata"]["clientId"] == "c"
    trial = operation["response"]["trials"][0]
    told = {"step_count": 1, "elapsed_time": {"seconds": 3}, "metrics": [{"metric": "y", "value": 1}]}
    measured = http.post(f"/v1/{trial['name']}:addMeasurement", json={"measurement": told}).json()
    assert measured["measurements"] == [
        {"stepCount": "1", "elapsedTime": "3s", "metrics": [{"metric": "y", "value": 1.0}]}
    ]
    body = {"trial_infeasible": True, "infeasible_reason": "too big"}
    ended = http.post(f"/v1/{trial['name']}:complete", json=body).json()
    assert (ended["state"], ended["trialInfeasible"], ended["infeasibleReason"]) == ("COMPLETED", True, "too big")


def test_deleting_a_study_deletes_its_trials_and_keeps_its_operations(server: Server) -> None:
    study = Study(server, X)
    operation = study.operation()
    trial = operation["response"]["trials"][0]
    study.http.delete(study.path).raise_for_status()
    assert study.http.get(f"/v1/{trial['name']}").status_code == 404
    assert study.http.get(f"/v1/{operation['name']}").json() == operation
    again = study.http.post(f"{LOCATION}/studies", params={"studyId": study.id}, json={"studyConfig": X})
    assert again.status_code == 200
    assert study.trials() == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("PATCH", "{study}"), ("PUT", "{study}"), ("POST", "{study}:stop"), ("PATCH", "{study}/trials/1"),
        ("GET", "{location}/operations"), ("POST", "{operation}:wait"), ("DELETE", "{operation}"),
    ],
)  # fmt: skip
def test_what_the_document_lacks_is_no_method(server: Server, verb: str, path: str) -> None:
    """A study cannot be changed, and operations at a location have get and cancel only."""
    study = Study(server, X)
    operation = f"/v1/{study.operation()['name']}"
    made = path.format(study=study.path, location=LOCATION, operation=operation)
    assert study.http.request(verb, made, json={}).status_code in (404, 405)
    assert study.http.get(study.path).json()["studyConfig"]["parameters"][0]["parameter"] == "x"
    assert study.http.get(operation).status_code == 200


# ---------------------------------------------------------------------------------------------------------- suggest


def test_a_suggestion_is_done_at_once_and_reads_as_an_operation(server: Server) -> None:
    study = Study(server, X)
    operation = study.operation("worker-1")
    metadata, response = operation["metadata"], operation["response"]
    assert metadata["@type"].endswith("google.cloud.ml.v1.SuggestTrialsMetadata")
    assert metadata["study"] == study.path.removeprefix("/v1/")
    assert (metadata["clientId"], metadata["suggestionCount"]) == ("worker-1", 1)
    assert study.http.get(study.path).json()["createTime"] <= metadata["createTime"] <= response["endTime"]
    assert response["@type"].endswith("google.cloud.ml.v1.SuggestTrialsResponse")
    assert response["studyState"] == "ACTIVE"
    assert response["startTime"] <= response["endTime"]
    trial = response["trials"][0]
    assert (trial["state"], trial["clientId"], number(trial)) == ("ACTIVE", "worker-1", 1)
    assert trial["startTime"]
    location, _, last = operation["name"].rpartition("/operations/")
    assert study.http.get(f"/v1/{location}/operations/{last}").json() == operation


def test_the_same_client_gets_its_pending_trial_and_a_new_one_after_completing_it(server: Server) -> None:
    study = Study(server, X)
    first = study.suggest("a")
    assert study.suggest("a") == first
    other = study.suggest("b")
    assert number(other[0]) == 2
    assert point(other[0]) != point(first[0])
    study.complete(first[0], 1.0)
    assert number(study.suggest("a")[0]) == 3


def test_requested_trials_come_before_new_ones_and_after_the_own_pending_ones(server: Server) -> None:
    study = Study(server, X)
    pending = study.suggest("a")[0]
    requested = study.create({"x": 0.25}).json()
    assert requested["state"] == "REQUESTED"
    assert "clientId" not in requested
    given = study.suggest("a", 3)
    assert [number(t) for t in given] == [number(pending), number(requested), 3]
    assert [t["state"] for t in given] == ["ACTIVE"] * 3
    assert given[1]["clientId"] == "a"
    assert point(given[1]) == {"x": 0.25}
    assert number(study.suggest("b")[0]) == 4


def test_trial_numbers_rise_from_one_and_are_never_given_twice(server: Server) -> None:
    study = Study(server, X)
    assert [number(t) for t in study.suggest("a", 3)] == [1, 2, 3]
    assert study.http.delete(study.at(3)).json() == {}
    assert [number(t) for t in study.suggest("b")] == [4]
    assert [number(t) for t in study.trials()] == [1, 2, 4]


def test_trials_are_listed_by_number_on_one_page(server: Server) -> None:
    study = Study(server, X)
    study.suggest("a", 12)
    listed = study.http.get(f"{study.path}/trials").json()
    assert [number(t) for t in listed["trials"]] == list(range(1, 13))
    assert set(listed) == {"trials"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"suggestionCount": 1}, "clientId"),
        ({"clientId": "c"}, "suggestionCount"),
        ({"clientId": "c", "suggestionCount": 0}, "suggestionCount"),
        ({"clientId": "c", "suggestionCount": MAX_TRIALS + 1}, "suggestionCount"),
        ({"clientId": "c" * 501, "suggestionCount": 1}, "clientId"),
        ({"clientId": "c", "suggestionCount": 1, "seed": 3}, "seed"),
    ],
)
def test_a_suggestion_that_is_asked_for_wrongly_is_refused(server: Server, body: Json, field: str) -> None:
    answer = server.http().post(f"{Study(server, X).path}/trials:suggest", json=body)
    assert (answer.status_code, field in answer.text) == (400, True)


def test_a_study_that_is_not_there_answers_404(server: Server) -> None:
    http = server.http()
    gone = f"{LOCATION}/studies/nothing-here"
    ask = {"clientId": "c", "suggestionCount": 1}
    assert http.post(f"{gone}/trials:suggest", json=ask).status_code == 404
    assert http.post(f"{gone}/trials", json={"parameters": []}).status_code == 404
    assert http.post(f"{gone}/trials/1:complete", json={}).status_code == 404
    assert http.post(f"{gone}/trials/1:checkEarlyStoppingState", json={}).status_code == 404
    for path in (gone, f"{gone}/trials", f"{gone}/trials/1", f"{gone}:plot"):
        assert http.get(path).status_code == 404


@pytest.mark.parametrize("algorithm", ["GRID_SEARCH", "RANDOM_SEARCH", "GAUSSIAN_PROCESS_BANDIT", None])
def test_an_exhausted_space_completes_the_study_and_then_answers_429(server: Server, algorithm: str | None) -> None:
    study = Study(server, {**FINITE, "algorithm": algorithm})
    seen = []
    for _ in range(4):
        trial = study.suggest()[0]
        seen.append(tuple(point(trial).items()))
        study.complete(trial, len(seen))
    assert len(set(seen)) == 4
    last = study.operation()["response"]
    assert (last["studyState"], last.get("trials")) == ("COMPLETED", None)
    assert study.state == "COMPLETED"
    refused = study.ask()
    assert (refused.status_code, error_of(refused)["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_grid_search_goes_through_the_grid_in_order(server: Server) -> None:
    study = Study(server, {**FINITE, "algorithm": "GRID_SEARCH"})
    given = study.operation("a", 9)["response"]
    assert [tuple(point(t).values()) for t in given["trials"]] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert given["studyState"] == "COMPLETED"
    assert len(study.suggest("a")) == 1, "its pending trials are still the client's"


def test_an_infeasible_point_is_never_suggested_again(server: Server) -> None:
    study = Study(server, FINITE)
    first = study.suggest()[0]
    study.done(first, "complete", {"trialInfeasible": True})
    rest = []
    while found := study.suggest():
        rest.append(point(found[0]))
        study.complete(found[0], 1.0)
    assert point(first) not in rest
    assert len(rest) == 3


def test_a_study_holds_a_thousand_trials_and_then_answers_429(server: Server) -> None:
    study = Study(server, {**X, "algorithm": "RANDOM_SEARCH"})
    with writing(server) as tx:  # the first ones as `trials.create` would write them: a thousand calls take long
        record = tx.get(study.path.removeprefix("/v1/"))
        assert record is not None
        for n in range(MAX_TRIALS - 2):
            body = {"state": "COMPLETED", "parameters": wire({"x": n / MAX_TRIALS}), "trialInfeasible": True}
            add_trial(tx, record, body, record.created)
        tx.update(record)
    assert len(study.suggest("a", 5)) == 2
    assert len(study.suggest("a", 5)) == 2
    assert study.state == "ACTIVE"
    for refused in (study.ask("b"), study.create({"x": 0.5})):
        assert (refused.status_code, error_of(refused)["status"]) == (429, "RESOURCE_EXHAUSTED")
    study.http.delete(study.at(1)).raise_for_status()
    assert len(study.suggest("b")) == 1


def test_conditional_trials_hold_the_active_parameters_only(server: Server) -> None:
    study = Study(server, config(*TREE))
    for trial in study.suggest("a", 8):
        held = [p["parameter"] for p in trial["parameters"]]
        assert len(held) == len(set(held))
        assert study.create(point(trial)).status_code == 200
    assert study.create({}).status_code == 400


def test_a_trial_parameter_is_carried_by_the_field_of_its_type(server: Server) -> None:
    study = Study(server, config(double("x"), integer("n", 1, 9), category("c", "a"), discrete("d", 1.5, 2.5)))
    fields = {p["parameter"]: sorted(p.keys() - {"parameter"}) for p in study.suggest()[0]["parameters"]}
    assert fields == {"x": ["floatValue"], "n": ["intValue"], "c": ["stringValue"], "d": ["floatValue"]}
    assert isinstance(next(p["intValue"] for p in study.trials()[0]["parameters"] if p["parameter"] == "n"), str)


def test_the_optimizer_learns_from_what_is_completed(server: Server) -> None:
    study = Study(server, config(double("x"), category("c", "a", "b")))
    for _ in range(25):
        trial = study.suggest()[0]
        at = point(trial)
        study.complete(trial, (at["x"] - 0.7) ** 2 + (at["c"] == "a"))
    best = study.http.post(f"{study.path}/trials:listOptimalTrials", json={}).json()["trials"][0]
    assert point(best)["c"] == "b"
    assert abs(point(best)["x"] - 0.7) < 0.05


def test_after_two_hundred_trials_a_suggestion_is_still_done_at_once(server: Server) -> None:
    study = Study(server, config(*(double(f"x{n}") for n in range(6)), category("c", "a", "b")))
    with writing(server) as tx:  # as `trials.create` would write them
        record = tx.get(study.path.removeprefix("/v1/"))
        assert record is not None
        for n in range(200):
            at = {**{f"x{i}": (n * (i + 1) / 200) % 1 for i in range(6)}, "c": "ab"[n % 2]}
            body = {"state": "COMPLETED", "parameters": wire(at), "finalMeasurement": measurement(at["x0"])}
            add_trial(tx, record, body, record.created)
        tx.update(record)
    assert number(study.suggest("a")[0]) == 201
    assert len(study.suggest("b", 5)) == 5


def test_the_same_study_gives_the_same_suggestions(server: Server) -> None:
    study = Study(server, X)
    first = [point(t) for t in study.suggest("a", 4)]
    study.http.delete(study.path).raise_for_status()
    study.http.post(f"{LOCATION}/studies", params={"studyId": study.id}, json={"studyConfig": X}).raise_for_status()
    assert [point(t) for t in study.suggest("a", 4)] == first


def test_many_suggestions_at_once_are_a_running_operation_that_the_worker_ends(server: Server) -> None:
    study = Study(server, X)
    running = study.ask("many", 40).json()
    assert "done" not in running
    assert study.ask("many", 40).json()["name"] == running["name"], "the client's running operation is returned as is"
    others = study.suggest("other")
    done = wait(study, running["name"])
    assert len(done["response"]["trials"]) == 40
    assert done["response"]["studyState"] == "ACTIVE"
    mine = {number(t) for t in done["response"]["trials"]}
    assert number(others[0]) not in mine
    assert {number(t) for t in study.suggest("many", 40)} == mine
    assert len({point(t)["x"] for t in study.trials()}) == 41


def test_a_running_suggestion_can_be_cancelled_and_asked_for_again(server: Server) -> None:
    study = Study(server, config(*(double(f"x{n}") for n in range(20))))
    running = study.ask("many", 80).json()
    assert study.http.post(f"/v1/{running['name']}:cancel").json() == {}
    ended = study.http.get(f"/v1/{running['name']}").json()
    assert (ended["done"], ended["error"]["code"]) == (True, 1)
    assert study.http.post(f"/v1/{running['name']}:cancel").json() == {}
    again = study.ask("many", 80).json()
    assert again["name"] != running["name"]
    assert len(wait(study, again["name"])["response"]["trials"]) == 80
    assert study.http.get(f"/v1/{running['name']}").json() == ended
    assert len(study.trials()) == 80


def test_deleting_a_study_ends_what_still_runs(server: Server) -> None:
    study = Study(server, config(*(double(f"x{n}") for n in range(30))))
    running = study.ask("many", 200).json()
    study.http.delete(study.path).raise_for_status()
    ended = wait(study, running["name"])
    assert "response" in ended or ended["error"]["code"] == 5
    assert study.http.get(study.path).status_code == 404


def test_operations_that_are_done_go_after_a_day(server: Server) -> None:
    """There is no method that deletes them."""
    study = Study(server, X)
    old = study.operation()["name"]
    with writing(server) as tx:
        record = tx.get(old)
        assert record is not None
        tx.delete(old)
        past = f"{old.rpartition('/')[0]}/1"
        body, created = {**record.body, "name": past}, record.created - timedelta(days=2)
        tx.insert(Record(past, record.kind, record.parent, record.uid, body, created))
        tx.set_policy(past, tx.policy(old))
    assert study.http.get(f"/v1/{past}").status_code == 200
    study.suggest("other")
    assert study.http.get(f"/v1/{past}").status_code == 404
    with writing(server) as tx:
        assert tx.get(past) is None


def test_an_internal_error_makes_the_study_inactive_and_says_why(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    with writing(server) as tx:  # a trial that no version of this server can have written
        record = tx.get(trial["name"])
        assert record is not None
        record.body["parameters"] = [{"parameter": "gone", "floatValue": 1.0}]
        tx.update(record)
    response = study.operation("other")["response"]
    assert (response["studyState"], response.get("trials")) == ("INACTIVE", None)
    read = study.http.get(study.path).json()
    assert read["state"] == "INACTIVE"
    assert "optimizer" in read["inactiveReason"]
    assert len(study.suggest("c")) == 1, "what is pending can still be run"


def wait(study: Study, operation: str, seconds: float = 60) -> Json:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        read = dict(study.http.get(f"/v1/{operation}").json())
        if read.get("done"):
            return read
        time.sleep(0.05)
    raise AssertionError(f"{operation} is not done")


# ----------------------------------------------------------------------------------------------------------- trials


def test_a_trial_with_a_known_result_is_completed_at_once(server: Server) -> None:
    study = Study(server, X)
    known = study.create({"x": 0.5}, finalMeasurement=measurement(0.1)).json()
    assert (known["state"], known["finalMeasurement"]["metrics"][0]["value"]) == ("COMPLETED", 0.1)
    failed = study.create({"x": 0.6}, trialInfeasible=True, infeasibleReason="out of memory").json()
    assert (failed["state"], failed["infeasibleReason"]) == ("COMPLETED", "out of memory")
    curve = study.create({"x": 0.7}, state="COMPLETED", measurements=[measurement(2.0, 2), measurement(3.0, 1)]).json()
    assert curve["finalMeasurement"]["metrics"][0]["value"] == 2.0
    assert number(study.suggest()[0]) == 4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameters": []}, "parameters"),
        ({"parameters": wire({"x": 2.0})}, "parameters"),
        ({"parameters": wire({"x": "a"})}, "parameters"),
        ({"parameters": wire({"x": 0.5, "z": 1.0})}, "parameters"),
        ({"parameters": wire({"x": 0.5}), "state": "ACTIVE"}, "state"),
        ({"parameters": wire({"x": 0.5}), "state": "COMPLETED"}, "finalMeasurement"),
        ({"parameters": wire({"x": 0.5}), "finalMeasurement": measurement(1.0, metric="z")}, "finalMeasurement"),
        ({"parameters": wire({"x": 0.5}), "finalMeasurement": {}}, "finalMeasurement"),
        ({"parameters": wire({"x": 0.5}), "infeasibleReason": "none"}, "infeasibleReason"),
    ],
)
def test_a_trial_that_cannot_be_is_refused_with_the_field(server: Server, body: Json, field: str) -> None:
    study = Study(server, X)
    answer = study.http.post(f"{study.path}/trials", json=body)
    assert answer.status_code == 400, answer.text
    assert any(field in v["field"] for d in error_of(answer)["details"] for v in d.get("fieldViolations", []))


def test_measurements_are_kept_in_order_of_steps_and_time(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    for step, seconds in ((2, 9), (1, 5), (2, 7), (1, 5)):
        told = measurement(step + seconds / 10, step, elapsedTime=f"{seconds}s")
        study.done(trial, "addMeasurement", {"measurement": told})
    kept = study.get(trial)["measurements"]
    assert [(m["stepCount"], m["elapsedTime"]) for m in kept] == [("1", "5s"), ("2", "7s"), ("2", "9s")]


def test_the_elapsed_time_is_the_time_since_the_start_where_none_is_given(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    elapsed = study.done(trial, "addMeasurement", {"measurement": measurement(1.0, 1)})["measurements"][0][
        "elapsedTime"
    ]
    assert 0 <= float(elapsed.removesuffix("s")) < 60
    for given, shown in (("3.5s", "3.5s"), ({"seconds": 4}, "4s"), ({"seconds": 5, "nanos": 500000000}, "5.5s")):
        told = measurement(1.0, 2, elapsedTime=given)
        assert study.done(trial, "addMeasurement", {"measurement": told})["measurements"][-1]["elapsedTime"] == shown


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"measurement": {"stepCount": 1}},
        {"measurement": measurement(1.0, -1)},
        {"measurement": measurement(1.0, 1, elapsedTime="-1s")},
        {"measurement": measurement(1.0, 1, metric="z")},
        {"measurement": {"metrics": [{"metric": "y"}]}},
        {"measurement": {"metrics": [{"metric": "y", "value": 1}, {"metric": "y", "value": 2}]}},
        {"measurement": measurement(1.0, 1, elapsedTime="soon")},
    ],
)
def test_a_measurement_that_says_nothing_is_refused(server: Server, wrong: Json) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    answer = study.call(trial, "addMeasurement", wrong)
    assert (answer.status_code, error_of(answer)["status"]) == (400, "INVALID_ARGUMENT")


def test_completing_without_a_final_measurement_takes_the_last_one_reported(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    refused = study.call(trial, "complete")
    assert (refused.status_code, "finalMeasurement" in refused.text) == (400, True)
    for step, value in ((1, 3.0), (3, 1.0), (2, 2.0)):
        study.done(trial, "addMeasurement", {"measurement": measurement(value, step)})
    ended = study.done(trial, "complete")
    assert ended["finalMeasurement"]["stepCount"] == "3"
    assert ended["endTime"] >= ended["startTime"]


def test_infeasible_wins_over_a_final_measurement_and_only_then_has_a_reason(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    refused = study.call(trial, "complete", {"finalMeasurement": measurement(1.0), "infeasibleReason": "no"})
    assert (refused.status_code, "infeasibleReason" in refused.text) == (400, True)
    body = {"finalMeasurement": measurement(1.0), "trialInfeasible": True, "infeasibleReason": "no"}
    ended = study.done(trial, "complete", body)
    assert ended["state"] == "COMPLETED"
    assert ended["trialInfeasible"] is True
    assert "finalMeasurement" not in ended


@pytest.mark.parametrize("verb", ["complete", "addMeasurement"])
def test_only_a_running_trial_is_measured_or_completed(server: Server, verb: str) -> None:
    study = Study(server, X)
    body = {"finalMeasurement": measurement(1.0)} if verb == "complete" else {"measurement": measurement(1.0, 1)}
    requested = study.create({"x": 0.1}).json()
    completed = study.create({"x": 0.2}, finalMeasurement=measurement(1.0)).json()
    for trial in (requested, completed):
        answer = study.call(trial, verb, body)
        assert (answer.status_code, error_of(answer)["status"]) == (400, "FAILED_PRECONDITION")
        assert study.get(trial) == trial
    stopping = study.suggest()[0]
    study.done(stopping, "stop")
    assert study.call(stopping, verb, body).status_code == 200


def test_stopping_is_a_state_and_does_nothing_to_what_is_ending_or_ended(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    assert study.done(trial, "stop")["state"] == "STOPPING"
    assert study.done(trial, "stop")["state"] == "STOPPING"
    assert number(study.suggest()[0]) == 2, "a stopping trial is not handed out again"
    study.complete(trial, 1.0)
    assert study.done(trial, "stop")["state"] == "COMPLETED"
    requested = study.create({"x": 0.1}).json()
    assert error_of(study.call(requested, "stop"))["status"] == "FAILED_PRECONDITION"


def test_a_trial_holds_so_many_measurements_and_no_more(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    with writing(server) as tx:
        record = tx.get(trial["name"])
        assert record is not None
        record.body["measurements"] = [measurement(1.0, n) for n in range(MAX_MEASUREMENTS)]
        tx.update(record)
    assert study.call(trial, "addMeasurement", {"measurement": measurement(1.0, MAX_MEASUREMENTS)}).status_code == 429


def test_the_best_trial_is_listed_with_its_ties(server: Server) -> None:
    study = Study(server, config(double("x"), metrics="+y"))
    for x, value in ((0.1, 1.0), (0.2, 3.0), (0.3, 3.0)):
        study.create({"x": x}, finalMeasurement=measurement(value)).raise_for_status()
    study.create({"x": 0.4}, trialInfeasible=True).raise_for_status()
    study.suggest()
    listed = study.http.post(f"{study.path}/trials:listOptimalTrials", json={}).json()
    assert [number(t) for t in listed["trials"]] == [2, 3]
    assert study.http.post(f"{study.path}/trials:listOptimalTrials").json() == listed, "an empty body is one too"


def test_several_metrics_have_a_front_of_trials_that_report_them_all(server: Server) -> None:
    study = Study(server, config(double("x"), metrics="cost +gain"))
    for x, values in ((0.1, (1, 1)), (0.2, (2, 2)), (0.3, (2, 1)), (0.4, (0.5,))):
        metrics = [{"metric": m, "value": v} for m, v in zip(("cost", "gain"), values, strict=False)]
        study.create({"x": x}, finalMeasurement={"metrics": metrics}).raise_for_status()
    listed = study.http.post(f"{study.path}/trials:listOptimalTrials", json={}).json()
    assert [number(t) for t in listed["trials"]] == [1, 2]
    assert len(study.suggest()) == 1


# --------------------------------------------------------------------------------------------------- early stopping


def check(study: Study, trial: Json) -> Json:
    operation = study.done(trial, "checkEarlyStoppingState")
    assert operation["done"] is True
    assert operation["metadata"]["@type"].endswith("CheckTrialEarlyStoppingStateMetatdata")
    assert operation["metadata"]["trial"] == trial["name"]
    assert operation["response"]["@type"].endswith("CheckTrialEarlyStoppingStateResponse")
    assert operation["response"]["startTime"] <= operation["response"]["endTime"]
    assert study.http.get(f"/v1/{operation['name']}").json() == operation
    return dict(operation["response"])


def with_curves(server: Server, stopping: Json | None) -> Study:
    """Eight completed trials, better by and by, in steps of a second."""
    study = Study(server, config(double("x"), stopping=stopping))
    for n in range(8):
        curve = [measurement(1 + n / 10 + 1 / step, step, elapsedTime=f"{step}s") for step in range(1, 9)]
        study.create({"x": n / 8}, state="COMPLETED", measurements=curve).raise_for_status()
    return study


@pytest.mark.parametrize(("stopping", "stops"), [(None, False), (MEDIAN, True), (DECAY, True)])
def test_a_hopeless_trial_should_stop_where_the_study_has_a_rule(
    server: Server, stopping: Json | None, stops: bool
) -> None:
    study = with_curves(server, stopping)
    bad, good = study.suggest("a")[0], study.suggest("b")[0]
    for step in range(1, 6):
        for trial, value in ((bad, 9 + 1 / step), (good, 0.5 + 1 / step)):
            told = measurement(value, step, elapsedTime=f"{step}s")
            study.done(trial, "addMeasurement", {"measurement": told})
    assert check(study, bad).get("shouldStop", False) is stops
    assert check(study, good).get("shouldStop", False) is False
    assert study.get(bad)["state"] == "ACTIVE", "it is the client who stops and completes"


def test_a_trial_that_somebody_stopped_should_stop(server: Server) -> None:
    study = Study(server, X)
    trial = study.suggest()[0]
    study.done(trial, "stop")
    assert check(study, trial)["shouldStop"] is True
    study.complete(trial, 1.0)
    assert check(study, trial).get("shouldStop", False) is False


# ------------------------------------------------------------------------------------------------------------ plots


@pytest.mark.parametrize("kind", ["history", "parallelCoordinates", "slice", "paretoFront", "importance", "contour"])
def test_plots_are_data(server: Server, kind: str) -> None:
    study = Study(server, config(double("x"), category("c", "a", "b")))
    for n in range(8):
        study.create({"x": n / 8, "c": "ab"[n % 2]}, finalMeasurement=measurement(n / 8)).raise_for_status()
    query = {"kind": kind, "first": "x", "second": "c"}
    shown = study.http.get(f"{study.path}:plot", params=query).json()
    assert (shown["study"], shown["kind"]) == (study.path.removeprefix("/v1/"), kind)
    assert shown["data"]


def test_a_plot_that_is_none_is_refused(server: Server) -> None:
    study = Study(server, X)
    assert study.http.get(f"{study.path}:plot", params={"kind": "pie"}).status_code == 400
    few = study.http.get(f"{study.path}:plot", params={"kind": "importance"})
    assert error_of(few)["status"] == "FAILED_PRECONDITION"
    wrong = study.http.get(f"{study.path}:plot", params={"kind": "contour", "first": "x", "second": "z"})
    assert (wrong.status_code, "z" in wrong.text) == (400, True)


# ------------------------------------------------------------------------------------------------------------- who


VIZIER = [
    *(f"ml.studies.{verb}" for verb in ("create", "delete", "get", "list")),
    *(f"ml.trials.{verb}" for verb in ("create", "delete", "get", "update")),
]


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        yield made


def holder(api: Api, role: str) -> str:
    """Somebody new who holds the role on a project of their own; their name, and the project's path."""
    who, project = f"user:{uuid.uuid4().hex[:10]}@example.com", f"p{uuid.uuid4().hex[:12]}"
    path = api.new_project(project)
    if role == "vizier":
        body = {"roleId": "vizier", "role": {"title": "t", "includedPermissions": VIZIER, "stage": "GA"}}
        role = api.done(OWNER, "POST", f"{path}/roles", body)["name"]
    assert api.bind(path, {role: [who]}).status_code == 200
    return f"{who} {path}/locations/us-central1"


def test_a_role_of_the_vizier_permissions_runs_a_whole_study(api: Api) -> None:
    """T-10."""
    who, place = holder(api, "vizier").split()
    assert api(who, "POST", f"{place}/studies", {"studyConfig": X}, params={"studyId": "s"}).status_code == 200
    ask = {"clientId": "c", "suggestionCount": 1}
    operation = api.done(who, "POST", f"{place}/studies/s/trials:suggest", ask)
    assert api(who, "GET", f"/v1/{operation['name']}").status_code == 200
    trial = f"/v1/{operation['response']['trials'][0]['name']}"
    api.done(who, "POST", f"{trial}:addMeasurement", {"measurement": measurement(1.0, 1)})
    checked = api.done(who, "POST", f"{trial}:checkEarlyStoppingState", {})
    assert api(who, "GET", f"/v1/{checked['name']}").status_code == 200
    api.done(who, "POST", f"{trial}:complete", {})
    assert len(api.done(who, "GET", f"{place}/studies/s/trials")["trials"]) == 1
    assert len(api.done(who, "GET", f"{place}/studies")["studies"]) == 1
    api.done(who, "DELETE", f"{place}/studies/s")
    project = place.partition("/locations")[0]
    assert api(who, "GET", f"{project}/models").status_code == 403
    assert api(who, "POST", f"{project}/jobs", {}).status_code == 403


def test_a_viewer_asks_whether_to_stop_and_changes_nothing(api: Api) -> None:
    """T-11."""
    who, place = holder(api, "roles/ml.viewer").split()
    api.done(OWNER, "POST", f"{place}/studies", {"studyConfig": X}, params={"studyId": "s"})
    ask = {"clientId": "c", "suggestionCount": 1}
    operation = api.done(OWNER, "POST", f"{place}/studies/s/trials:suggest", ask)
    trial = f"/v1/{operation['response']['trials'][0]['name']}"
    checked = api.done(who, "POST", f"{trial}:checkEarlyStoppingState", {})
    assert api(who, "GET", f"/v1/{checked['name']}").status_code == 200
    assert api(who, "GET", f"{place}/studies/s:plot").status_code == 200
    assert api(who, "GET", trial).status_code == 200
    for verb, path in (
        ("POST", f"{place}/studies/s/trials:suggest"),
        ("POST", f"{place}/studies/s/trials"),
        ("POST", f"{trial}:complete"),
        ("POST", f"{trial}:stop"),
        ("DELETE", trial),
        ("DELETE", f"{place}/studies/s"),
    ):
        assert api(who, verb, path, ask if verb == "POST" else None).status_code == 403, (verb, path)


def test_an_operation_belongs_to_whoever_caused_it(api: Api) -> None:
    """R-033: somebody else with the same role cannot read it."""
    who, place = holder(api, "vizier").split()
    other, elsewhere = holder(api, "vizier").split()
    assert elsewhere != place
    role = f"{place.partition('/locations')[0].removeprefix('/v1/')}/roles/vizier"
    assert api.bind(place.partition("/locations")[0], {role: [who, other]}).status_code == 200
    api.done(who, "POST", f"{place}/studies", {"studyConfig": X}, params={"studyId": "s"})
    ask: dict[str, Any] = {"clientId": "c", "suggestionCount": 1}
    operation = api.done(who, "POST", f"{place}/studies/s/trials:suggest", ask)
    assert api(who, "GET", f"/v1/{operation['name']}").status_code == 200
    assert api(other, "GET", f"/v1/{operation['name']}").status_code == 403
    assert api(other, "POST", f"{place}/studies/s/trials:suggest", ask).status_code == 200
