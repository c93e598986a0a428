"""The benchmark of prediction: what it draws and what it compares. That it measures is seen when it runs."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from bench.serving import cold, mixed
from bench.serving.contestants import CELLS, CONTESTANTS, FASTAPI, MLGATE, NOOP, Cell
from bench.serving.environments import OWN, lock_of
from bench.serving.models import Answers
from bench.serving.page import Results, page


def records(rates: dict[str, float]) -> list[dict[str, Any]]:
    """Two rounds in which each contestant has the same rate in every cell."""
    made: list[dict[str, Any]] = []
    for number in range(2):
        for name, rate in rates.items():
            made.append({"contestant": name, "round": number, "startup_s": 1.5, "processes": 2, "rss": 3e8, "pss": 2e8})
            for cell in CELLS:
                figures = {"per_second": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 1e6 / rate, "errors": 0}
                made.append({"contestant": name, "round": number, "cell": str(cell), **figures, "pss": 2e8})
    return made


def test_the_page_says_which_promises_hold_and_who_is_missing() -> None:
    missing = {"contestant": "LitServe", "why": "it could not be installed"}
    text = page([*records({MLGATE: 10_000, FASTAPI: 500, "BentoML": 20_000}), missing], "On a machine.")
    assert "| xgb, 64 connections: requests/s ÷ FastAPI by hand | at least 15× | 20.00× | yes |" in text
    assert (
        "| xgb, 64 connections: requests/s ÷ MLflow | at least 10× | MLflow was not measured | **not shown** |" in text
    )
    assert "BentoML, 1 × 1: 0.50×" in text
    assert "| LitServe | it could not be installed |" in text


def test_ratios_are_of_medians_and_need_both_sides() -> None:
    results = Results(records({MLGATE: 300, NOOP: 600}))
    assert results.ratio(MLGATE, NOOP, Cell("iris", 1, 8)) == 0.5
    assert results.ratio(MLGATE, FASTAPI, Cell("iris", 1, 8)) is None


def test_every_contestant_has_a_lock_and_a_name_of_its_own() -> None:
    assert len({contestant.name for contestant in CONTESTANTS}) == len(CONTESTANTS)
    for contestant in CONTESTANTS:
        assert contestant.environment == OWN or lock_of(contestant.environment).exists()


@pytest.mark.parametrize("body", ['{"predictions":[1.0,0.0]}', "[1, 0]", '{"outputs":[{"data":[[0.9],[0.1]]}]}'])
def test_answers_are_read_from_every_protocol(tmp_path: Any, body: str) -> None:
    (tmp_path / "answers.json").write_text(json.dumps({"m": [[1, 0], [0.9, 0.1]]}))
    assert Answers(tmp_path).agree("m", 2, json.loads(body))
    assert not Answers(tmp_path).agree("m", 1, json.loads(body))


def test_an_answer_of_another_version_or_to_another_caller_is_wrong() -> None:
    one, other, *_ = (v for v in mixed.versions(4) if v.framework == "SCIKIT_LEARN" and "v" in v.name)
    asked = one.ask(Random(1), 1000)
    assert asked.predictions is not None
    right = json.dumps({"predictions": asked.predictions}).encode()
    assert asked.is_right(200, right)
    assert not asked.is_right(400, right)
    for wrong in (one.ask(Random(1), 1001), other.ask(Random(1), 1000)):
        assert not asked.is_right(200, json.dumps({"predictions": wrong.predictions}).encode())


def test_a_request_that_must_be_refused_is_wrong_when_it_is_answered() -> None:
    refused = mixed.Asked(b"{}", None, 0)
    assert refused.is_right(400, b'{"error": "no (Error code: 1)"}')
    assert not refused.is_right(200, b'{"predictions": [1]}')


def test_idle_versions_and_mixed_requests_are_drawn() -> None:
    measured = [
        {"what": "start", "model": "xgb", "spares": 1, "cold_ms": [300.0, 400.0], "warm_ms": [1.0, 1.0]},
        {"what": "start", "model": "iris", "spares": 1, "why": "it did not scale to zero"},
        {"what": "memory", "model": "xgb", "processes": 8, "rss": 9 << 20, "pss": 5 << 20},
        {"what": "many", "versions": 200, "pss": 3 << 30, "processes": 9, "wrong": 0, "deployed_s": 1, "asked_s": 1},
    ]
    text = "\n".join(cold.report(measured))
    assert "| xgb: cold start with a warm spare, longest | under 1 s | 0.40 s | yes |" in text
    assert "| at most 4,096 MB | 3,072 MB, 0 wrong or refused answers | yes |" in text
    outcome = mixed.Outcome(requests=3, killed=1)
    assert outcome.is_good()
    outcome.complain(200, "m: another's answer")
    assert not outcome.is_good()
    text = "\n".join(mixed.report(mixed.record_of(outcome)))
    assert "none that hangs: **no**." in text
    assert "- m: another's answer" in text
