"""A study as clients run it: Google's own client library, our Python helper, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from googleapiclient.errors import HttpError

from mlgate.cli.failure import Failure
from mlgate.cli.local_trials import read_line
from mlgate.cli.study_files import parameter_of
from mlgate.vizier_client import Infeasible, Study, Trial
from tests.command_line import CommandLine
from tests.harness import PROJECT, Server
from tests.vizier.studies import category, config, double, integer

PARENT = f"projects/{PROJECT}/locations/us-central1"


def new_id() -> str:
    return f"s{uuid.uuid4().hex[:12]}"


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path)


@pytest.fixture
def helper(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes studies with our helper, signed in as the owner."""
    for name, value in CommandLine(server, tmp_path).environment.items():
        monkeypatch.setenv(name, value)
    made: list[Study] = []

    def make(study_config: dict[str, Any]) -> Study:
        made.append(Study.create(new_id(), study_config))
        return made[-1]

    yield make
    for study in made:
        study.client.close()


# ------------------------------------------------------------------------------------------------- Google's library


def test_googles_client_runs_a_study(server: Server) -> None:
    """The steps of Google's own notebook and tuner, with their spellings."""
    studies = server.api("ml").projects().locations().studies()
    study_id = new_id()
    body = {
        "study_config": {
            "metrics": [{"goal": "MINIMIZE", "metric": "loss"}],
            "parameters": [
                {"parameter": "lr", "type": "DOUBLE", "double_value_spec": {"min_value": 0, "max_value": 1}}
            ],
            "automatedStoppingConfig": {"decayCurveStoppingConfig": {"useElapsedTime": True}},
        }
    }
    made = studies.create(parent=PARENT, studyId=study_id, body=body).execute()
    with pytest.raises(HttpError) as refused:
        studies.create(parent=PARENT, studyId=study_id, body=body).execute()
    assert refused.value.resp.status == 409
    assert studies.get(name=made["name"]).execute() == made
    trials = studies.trials()
    for n in range(7):
        ask = {"client_id": "tuner", "suggestion_count": 1}
        operation = trials.suggest(parent=made["name"], body=ask).execute()
        name = f"{PARENT}/operations/{operation['name'].split('/')[-1]}"
        polled = server.api("ml").projects().locations().operations().get(name=name).execute()
        assert polled.get("done") is True
        trial = polled["response"]["trials"][0]
        assert int(trial["name"].split("/")[-1]) == n + 1
        told = {"stepCount": 1, "elapsedTime": {"seconds": 1}, "metrics": [{"metric": "loss", "value": 1.0}]}
        trials.addMeasurement(name=trial["name"], body={"measurement": told}).execute()
        checked = trials.checkEarlyStoppingState(name=trial["name"]).execute()
        assert checked["response"].get("shouldStop", False) is False
        final = {"final_measurement": {"step_count": 2, "metrics": [{"metric": "loss", "value": n}]}}
        assert trials.complete(name=trial["name"], body=final).execute()["state"] == "COMPLETED"
    assert len(trials.list(parent=made["name"]).execute()["trials"]) == 7
    best = trials.listOptimalTrials(parent=made["name"], body={}).execute()["trials"]
    assert [t["name"].split("/")[-1] for t in best] == ["1"]
    created = trials.create(
        parent=made["name"], body={"parameters": [{"parameter": "lr", "floatValue": 0.5}]}
    ).execute()
    assert created["state"] == "REQUESTED"
    assert trials.get(name=created["name"]).execute() == created
    trials.delete(name=created["name"]).execute()
    assert studies.list(parent=PARENT).execute()["studies"]
    studies.delete(name=made["name"]).execute()


# --------------------------------------------------------------------------------------------------------- helper


def test_the_helper_asks_measures_stops_and_completes(helper: Any) -> None:
    median = {"medianAutomatedStoppingConfig": {}}
    study = helper(config(double("x"), stopping=median))
    stopped = []
    for trial in study.trials("w", limit=12):
        for step in range(1, 6):
            trial.measure(trial.parameters["x"], step=step)
            if trial.should_stop():
                stopped.append(trial.id)
                break
        trial.complete()
    assert stopped
    assert len(study.all_trials()) == 12
    assert {t["state"] for t in study.all_trials()} == {"COMPLETED"}


def test_the_helper_finds_the_best_with_many_workers(helper: Any) -> None:
    study = helper(config(double("x"), integer("n", 1, 9)))
    lock, running, most = threading.Lock(), set[int](), 0

    def objective(trial: Trial) -> float:
        nonlocal most
        with lock:
            running.add(trial.id)
            most = max(most, len(running))
        if trial.parameters["n"] == 9:
            raise Infeasible("too large")
        time.sleep(0.02)
        with lock:
            running.discard(trial.id)
        return (float(trial.parameters["x"]) - 0.3) ** 2 + int(trial.parameters["n"])

    best = study.optimize(objective, trials=30, workers=4)
    trials = study.all_trials()
    assert len(trials) == 30
    assert most > 1
    assert all(t["state"] == "COMPLETED" for t in trials)
    assert best[0]["finalMeasurement"]["metrics"][0]["value"] < 1.1


def test_a_fault_of_the_objective_is_raised_and_told_in_its_trial(helper: Any) -> None:
    study = helper(config(double("x")))

    def objective(_: Trial) -> float:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        study.optimize(objective, trials=9)
    (trial,) = study.all_trials()
    assert trial["infeasibleReason"] == "ZeroDivisionError: oh"


def test_a_worker_that_starts_again_goes_on_with_its_trial(helper: Any) -> None:
    study = helper(config(double("x")))
    assert study.suggest("w")[0].id == study.suggest("w")[0].id == 1
    with pytest.raises(Failure, match="neither completed"):
        next(study.trials("w")) and list(study.trials("w"))


def test_the_helper_ends_when_the_study_has_no_more(helper: Any) -> None:
    study = helper(config(category("c", "a", "b", "d")))
    assert len(study.optimize(lambda trial: 1.0, workers=2)) == 3
    assert study.suggest("late") == []


def test_what_one_study_knows_is_copied_into_another_that_has_its_points(helper: Any) -> None:
    source, into = helper(config(double("x"))), helper(config(double("x", 0.0, 0.5)))
    for x, value in ((0.2, 1.0), (0.4, 2.0), (0.9, 3.0)):
        source.add({"x": x}, value)
    source.add({"x": 0.3}, infeasible=True)
    source.suggest("w")
    copied, refused = into.copy_trials(source)
    assert copied == 3
    assert refused == [next(r for r in refused if r.startswith("trial 3: "))]
    assert [t.get("trialInfeasible", False) for t in into.all_trials()] == [False, False, True]


# ---------------------------------------------------------------------------------------------------- command line


def test_a_study_by_hand(ada: CommandLine, tmp_path: Path) -> None:
    study = new_id()
    made = ada.ok(
        "studies", "create", study, "--parameter", "lr=double:0.001:0.1:log", "--parameter", "n=int:1:9",
        "--parameter", "c=category:a,b", "--metric", "loss:minimize", "--stopping", "median",
    ).yaml  # fmt: skip
    assert made["state"] == "ACTIVE"
    assert study in ada.ok("studies", "list").stdout
    assert ada.ok("studies", "describe", study).yaml == made
    table = ada.ok("trials", "suggest", "--study", study, "--client-id", "me").stdout
    assert table.splitlines()[0].split()[-2:] == ["FINAL_MEASUREMENT_METRICS", "PARAMETERS"]
    assert table.splitlines()[1].split() == ["1", "ACTIVE", "me", "lr=0.01", "n=5", "c=a"]
    ada.ok("trials", "add-measurement", "1", "--study", study, "--metric", "loss=0.5", "--step", "1")
    assert ada.ok("trials", "check-early-stopping", "1", "--study", study).yaml == {"shouldStop": False}
    assert ada.ok("trials", "complete", "1", "--study", study).yaml["state"] == "COMPLETED"
    assert "loss=0.5" in ada.ok("trials", "list", "--study", study).stdout
    known = ("--parameter", "lr=0.01", "--parameter", "n=3", "--parameter", "c=a")
    assert ada.ok("trials", "create", "--study", study, *known, "--metric", "loss=0.1").yaml["state"] == "COMPLETED"
    assert ada.ok("trials", "create", "--study", study, *known).yaml["state"] == "REQUESTED"
    ada.ok("trials", "delete", "3", "--study", study)
    ada.ok("trials", "suggest", "--study", study, "--client-id", "me")
    assert ada.ok("trials", "stop", "4", "--study", study).yaml["state"] == "STOPPING"
    ended = ada.ok("trials", "complete", "4", "--study", study, "--infeasible", "--reason", "no memory").yaml
    assert ended["infeasibleReason"] == "no memory"
    assert ada.ok("trials", "describe", "4", "--study", study).yaml == ended
    assert ada.ok("trials", "list", "--study", study, "--format", "value(name.basename())").stdout.split() == list(
        "124"
    )
    optimal = ada.ok("trials", "list-optimal", "--study", study, "--format", "value(name.basename())").stdout
    assert optimal.split() == ["2"]
    assert "--study" in ada.fails("trials", "describe", "4")
    ada.ok("studies", "delete", study)
    assert "NOT_FOUND" in ada.fails("studies", "describe", study)


def test_a_study_from_a_file(ada: CommandLine, tmp_path: Path) -> None:
    study, file = new_id(), tmp_path / "study.yaml"
    file.write_text(json.dumps({"studyConfig": config(double("x"))}))
    ada.ok("studies", "create", study, "--config", str(file), "--algorithm", "random")
    read = ada.ok("studies", "describe", study).yaml["studyConfig"]
    assert (read["algorithm"], read["parameters"][0]["parameter"]) == ("RANDOM_SEARCH", "x")
    assert "give --parameter and --metric, or --config" in ada.fails("studies", "create", new_id())
    for wrong in ("x", "x=double:1", "x=double:a:b", "x=int:1:2:cubic", "x=thing:1:2"):
        assert wrong in ada.fails("studies", "create", new_id(), "--parameter", wrong, "--metric", "y")


def test_parameters_are_typed_shortly() -> None:
    assert parameter_of("d=discrete:1,2.5") == {
        "parameter": "d", "type": "DISCRETE", "discreteValueSpec": {"values": [1.0, 2.5]},
    }  # fmt: skip
    assert parameter_of("n=int:1:8:reverse-log")["scaleType"] == "UNIT_REVERSE_LOG_SCALE"


SCRIPT = """
import sys, time
at = dict(word[2:].split("=") for word in sys.argv[1:])
x = float(at["x"])
if at["c"] == "bad":
    sys.exit("this one cannot be run")
for step in range(1, 4):
    print(f"step={step} y={1 / step}", flush=True)
print({"y": (x - 0.3) ** 2}.__repr__().replace("'", '"'))
"""


def test_a_command_is_run_for_trial_after_trial(ada: CommandLine, tmp_path: Path) -> None:
    study, script = new_id(), tmp_path / "train.py"
    script.write_text(SCRIPT)
    spec = ("--parameter", "x=double:0:1", "--parameter", "c=category:good,bad", "--metric", "y:minimize")
    ada.ok("studies", "create", study, *spec)
    done = ada.ok(
        "studies", "optimize", study, "--trials", "14", "--workers", "3", "--format", "json",
        "--", sys.executable, str(script),
    )  # fmt: skip
    best = done.json[0]
    assert best["finalMeasurement"]["metrics"][0]["value"] < 0.1
    assert len(best["measurements"]) == 3
    assert best["finalMeasurement"]["stepCount"] == "3", "the last line has no step: it is the end of those before"
    trials = ada.ok("trials", "list", "--study", study, "--format", "json").json
    assert len(trials) == 14
    assert {t["state"] for t in trials} == {"COMPLETED"}
    bad = [t for t in trials if t.get("trialInfeasible")]
    assert bad
    assert bad[0]["infeasibleReason"] == "The command ended with 1."
    assert "succeeded" in done.stderr
    assert "infeasible. The command ended with 1." in done.stderr


def test_parameters_may_come_as_environment_variables(ada: CommandLine, tmp_path: Path) -> None:
    study = new_id()
    ada.ok("studies", "create", study, "--parameter", "size=int:1:3", "--metric", "y:minimize")
    done = ada.ok("studies", "optimize", study, "--environment", "--format", "json", "--", "sh", "-c", "echo y=$size")
    assert done.json[0]["parameters"] == [{"parameter": "size", "intValue": "1"}]
    assert "3 trials succeeded" in done.stderr


def test_a_command_that_cannot_be_run_or_only_fails_ends_at_once(ada: CommandLine, tmp_path: Path) -> None:
    study = new_id()
    ada.ok("studies", "create", study, "--parameter", "x=double:0:1", "--metric", "y:minimize")
    assert "cannot be run" in ada.fails("studies", "optimize", study, "--", "no-such-command-here")
    assert ada.ok("trials", "list", "--study", study).stdout == "", "the trial was given back"
    assert "5 trials failed" in ada.fails("studies", "optimize", study, "--", "false")
    silent = new_id()
    ada.ok("studies", "create", silent, "--parameter", "x=double:0:1", "--metric", "y:minimize")
    assert "printed none" in ada.fails("studies", "optimize", silent, "--", "true")


def test_interrupting_gives_the_running_trials_back(ada: CommandLine, tmp_path: Path) -> None:
    study, marks = new_id(), tmp_path / "marks"
    marks.mkdir()
    ada.ok("studies", "create", study, "--parameter", "x=double:0:1", "--metric", "y:minimize")
    command = ["studies", "optimize", study, "--workers", "2", "--", "sh", "-c", f"touch {marks}/$$; sleep 60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlgate.cli.main", *command], env={**os.environ, **ada.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # whatever this process ignores
    )  # fmt: skip
    until = time.monotonic() + 30
    while len(list(marks.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"given back" in said
    assert b"Traceback" not in said
    assert ada.ok("trials", "list", "--study", study).stdout == ""
    for mark in marks.iterdir():
        assert not Path(f"/proc/{mark.name}").exists(), "the commands have ended"


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("y=0.5", (None, {"y": 0.5})),
        ("epoch 3: step=3 y=1e-3, z=9", (3, {"y": 0.001})),
        ('{"y": 2, "step": 4}', (4, {"y": 2.0})),
        ('{"y": "nan"}', (None, {"y": pytest.approx(float("nan"), nan_ok=True)})),
        ('{"y": true, "step": "x"}', (None, {})),
        ("{broken y=1", (None, {"y": 1.0})),
        ("[1, 2]", (None, {})),
        ("{}", (None, {})),
        ("nothing of note", (None, {})),
    ],
)
def test_metrics_are_read_from_what_a_command_prints(line: str, read: Any) -> None:
    assert read_line(line, ["y"]) == read


@pytest.mark.parametrize("kind", ["history", "parallelCoordinates", "slice", "paretoFront", "importance", "contour"])
def test_plots_are_drawn(ada: CommandLine, tmp_path: Path, kind: str) -> None:
    study = new_id()
    two = ("--metric", "y:minimize") + (("--metric", "z:maximize") if kind == "paretoFront" else ())
    ada.ok("studies", "create", study, "--parameter", "x=double:0:1", "--parameter", "c=category:<a>,b", *two)
    plot = ("studies", "plot", study, "--kind", kind, "--first", "x", "--second", "c")
    empty = ada.run(*plot, "--output", str(tmp_path / "empty.svg"))
    assert empty.exit_code == 1
    for n in range(7):
        at = ("--parameter", f"x={n / 8}", "--parameter", f"c={'<a>' if n % 2 else 'b'}")
        values = ("--metric", f"y={n}", *(("--metric", f"z={n % 3}") if kind == "paretoFront" else ()))
        ada.ok("trials", "create", "--study", study, *at, *values)
    ada.ok(*plot, "--output", str(tmp_path / "plot.svg"))
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    ada.ok(*plot, "--output", str(tmp_path / "plot.json"))
    assert json.loads((tmp_path / "plot.json").read_text())["kind"] == kind
    assert ada.ok(*plot).yaml["kind"] == kind
    if kind == "contour":
        assert ada.ok("studies", "plot", study, "--kind", kind).yaml["kind"] == kind, "of the most important ones"
    assert ".svg and .json" in ada.fails(*plot, "--output", str(tmp_path / "plot.png"))


def test_trials_are_copied_between_studies(ada: CommandLine) -> None:
    source, into = new_id(), new_id()
    for study, high in ((source, "1"), (into, "0.5")):
        ada.ok("studies", "create", study, "--parameter", f"x=double:0:{high}", "--metric", "y:minimize")
    for x in ("0.1", "0.9"):
        ada.ok("trials", "create", "--study", source, "--parameter", f"x={x}", "--metric", "y=1")
    said = ada.ok("studies", "copy-trials", into, "--from", source).stderr
    assert "Copied 1 trials, left out 1." in said
    assert "trial 2" in said


def test_an_operation_of_a_study_is_waited_for_by_its_whole_name(ada: CommandLine, server: Server) -> None:
    study = new_id()
    ada.ok("studies", "create", study, "--parameter", "x=double:0:1", "--metric", "y:minimize")
    ask = {"clientId": "c", "suggestionCount": 20}
    path = f"/v1/{PARENT}/studies/{study}/trials:suggest"
    name = server.http().post(path, json=ask).json()["name"]
    assert len(ada.ok("operations", "wait", name).yaml["trials"]) == 20
    assert ada.ok("operations", "describe", name).yaml["done"] is True
    ada.ok("operations", "cancel", name)
