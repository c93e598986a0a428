"""Explanations in steps: each a bounded piece of work, in turn, in time; and the same answer as at one go."""

from __future__ import annotations

import json
from typing import Any

import numpy
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from mlgate.adapters.runtimes import explaining, pace
from mlgate.adapters.runtimes.explaining import Explanations
from mlgate.adapters.runtimes.frameworks import Model
from mlgate.adapters.runtimes.pace import Pace

PATHS = {"explanation": {"sampledShapleyAttribution": {"numPaths": 20}}}
STEPS = {"explanation": {"integratedGradientsAttribution": {"numIntegralSteps": 100}}}
FEATURES = 30


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def body(*instances: Any) -> bytes:
    return json.dumps({"instances": instances}).encode()


def to_the_end(line: Explanations) -> list[tuple[Any, tuple[int, bytes]]]:
    ended = []
    while line:
        done = line.step()
        if done is not None:
            ended.append(done)
    return ended


class Dear:
    """A linear model whose calls cost `call` and `row` seconds by a clock of its own, and remember their rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: float, row: float) -> None:
        self.spent, self.costs, self.asked = 0.0, (call, row), list[int]()
        monkeypatch.setattr(pace.time, "process_time", lambda: self.spent)

    def predict(self, rows: Any) -> Any:
        call, row = self.costs
        self.spent += call + row * len(rows)
        self.asked.append(len(rows))
        return rows.sum(axis=1)

    def derive(self, rows: Any, output: str, labels: Any) -> Any:
        self.predict(rows)
        return {"features": numpy.ones_like(rows)}

    def model(self) -> Model:
        return Model(
            "sklearn", lambda given, _: numpy.array(given), self.predict, scores=self.predict, gradients=self.derive
        )


@pytest.mark.parametrize("options", [PATHS, STEPS], ids=["shapley", "gradients"])
def test_a_step_is_one_short_call_of_the_model(monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    dear = Dear(monkeypatch, call=0.001, row=0.001)
    line = Explanations(dear.model(), options, 60)
    line.add("asked", body([1.0] * FEATURES))
    calls, ended = [], None
    while ended is None:
        before = len(dear.asked)
        ended = line.step()
        calls.append(len(dear.asked) - before)
    assert ended[0] == "asked"
    assert ended[1][0] == 200
    assert max(calls) <= 2
    assert max(dear.asked) < 2 * 1000 * pace.SECONDS
    assert sum(dear.asked) / len(dear.asked) > 4


@pytest.mark.parametrize(
    ("call", "row", "settles"),
    [(0.0, 0.0001, (50, 200)), (0.01, 0.0001, (25, 200)), (0.1, 0.001, (25, 110)), (0.0, 0.05, (1, 2))],
)
def test_the_pace_is_learned_from_what_calls_cost(call: float, row: float, settles: tuple[int, int]) -> None:
    found = Pace()
    for _ in range(30):
        found.took(found.rows, call + row * found.rows)
    assert settles[0] <= found.rows <= settles[1]


def test_small_requests_do_not_quicken_the_pace() -> None:
    found = Pace()
    for _ in range(1000):
        for start, end in found.pieces(20, 1000):
            found.took(end - start, 1e-6)
    assert found.rows <= 80


def test_pieces_cover_everything_once() -> None:
    found = Pace()
    seen: list[int] = []
    for start, end in found.pieces(1000, 70):
        assert end - start <= 70
        seen += range(start, end)
        found.took(end - start, 0.0001)
    assert seen == list(range(1000))


def test_steps_give_what_one_go_gives() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=1).fit(x, y)
    model = Model(
        "sklearn", lambda given, _: numpy.array(given), forest.predict, scores=forest.predict_proba, source=forest
    )
    line = Explanations(model, PATHS, 60)
    bodies = [body(*x[n : n + 2].tolist()) for n in range(3)]
    for n, one in enumerate(bodies):
        line.add(n, one)
    assert to_the_end(line) == [(n, explaining.answer(model, PATHS, one)) for n, one in enumerate(bodies)]


def test_one_that_fails_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Explanations(Dear(monkeypatch, 0, 0).model(), PATHS, 60)
    good, bad = body([1.0, 2.0]), body(["a", "b"])
    for n, one in enumerate([bad, good, b"{", good]):
        line.add(n, one)
    assert [(n, status) for n, (status, _) in to_the_end(line)] == [(0, 400), (1, 200), (2, 400), (3, 200)]


def test_one_that_takes_too_long_is_ended_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dear, clock = Dear(monkeypatch, call=0.1, row=0.001), Clock()
    line = Explanations(dear.model(), PATHS, 10, clock)
    line.add("long", body(*[[1.0] * FEATURES] * 100))
    assert line.step() is None
    clock.now = 5.0
    line.add("short", body([1.0, 2.0]))
    assert line.step() is None
    clock.now = 9.5
    done = line.step()
    assert done is not None
    assert (done[0], done[1][0]) == ("long", 400)
    assert "not done within the 10 seconds" in json.loads(done[1][1])["error"]
    assert [(asked, status) for asked, (status, _) in to_the_end(line)] == [("short", 200)]
