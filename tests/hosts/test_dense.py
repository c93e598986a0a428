"""The direct way into XGBoost gives what `inplace_predict` gives, bit by bit, or leaves it to that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from mlgate.adapters.runtimes import dense

FLOWERS, KINDS = load_iris(return_X_y=True)
CANCER, BENIGN = load_breast_cancer(return_X_y=True)
SUGAR, PROGRESS = load_diabetes(return_X_y=True)


def boost(objective: str, x: Any, y: Any, **more: Any) -> xgboost.Booster:
    made = xgboost.train({"objective": objective, "nthread": 1, **more}, xgboost.DMatrix(x, y), num_boost_round=10)
    made.feature_names = None
    return made


MODELS = {
    "two kinds": lambda: (boost("binary:logistic", CANCER, BENIGN), CANCER),
    "probabilities of three kinds": lambda: (boost("multi:softprob", FLOWERS, KINDS, num_class=3), FLOWERS),
    "three kinds": lambda: (boost("multi:softmax", FLOWERS, KINDS, num_class=3), FLOWERS),
    "a number": lambda: (boost("reg:squarederror", SUGAR, PROGRESS), SUGAR),
    "several numbers": lambda: (boost("reg:squarederror", SUGAR, np.stack([PROGRESS, -PROGRESS], 1)), SUGAR),
}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the long way was asked."""
    asked: list[int] = []
    long_way = xgboost.Booster.inplace_predict

    def counting(booster: Any, rows: Any, **options: Any) -> Any:
        asked.append(len(rows))
        return long_way(booster, rows, **options)

    monkeypatch.setattr(xgboost.Booster, "inplace_predict", counting)
    return asked


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_the_same(name: str, counted: list[int]) -> None:
    booster, rows = MODELS[name]()
    ask = dense.direct(booster)
    counted.clear()
    for dtype in ("<f8", "<f4", "<i8"):
        table = rows.astype(dtype)
        for some in (table[:1], table[:3], table[:100], table[5:50:3], np.asfortranarray(table[:7])):
            given = ask(some)
            assert not counted, "it took the long way"
            wanted = booster.inplace_predict(some, validate_features=False)
            counted.clear()
            assert given.dtype == wanted.dtype
            np.testing.assert_array_equal(given, wanted)


def test_missing_numbers_are_missing() -> None:
    booster, rows = MODELS["a number"]()
    rows = rows[:50].copy()
    rows[::3, 2] = np.nan
    np.testing.assert_array_equal(dense.direct(booster)(rows), booster.inplace_predict(rows, validate_features=False))


def test_an_answer_stays_when_the_next_is_asked() -> None:
    booster, rows = MODELS["a number"]()
    ask = dense.direct(booster)
    first = ask(rows[:5])
    before = first.copy()
    ask(rows[5:10])
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("dtype", ["<f2", "<u1", "?"])
def test_other_numbers_take_the_long_way(dtype: str, counted: list[int]) -> None:
    booster, rows = MODELS["a number"]()
    ask = dense.direct(booster)
    counted.clear()
    ask(rows[:4].astype(dtype))
    assert counted == [4]


def test_wrong_rows_get_the_library_s_own_error(counted: list[int]) -> None:
    booster, rows = MODELS["a number"]()
    ask = dense.direct(booster)
    with pytest.raises(xgboost.core.XGBoostError):
        ask(rows[:2, :3])
    assert counted[-1] == 2


def test_a_library_without_it_is_asked_as_before(monkeypatch: pytest.MonkeyPatch, counted: list[int]) -> None:
    booster, rows = MODELS["a number"]()
    monkeypatch.setattr(xgboost.core, "_LIB", object())
    ask = dense.direct(booster)
    monkeypatch.undo()
    assert len(ask(rows[:4])) == 4


def test_a_linear_model_is_loaded_as_before() -> None:
    booster = boost("reg:squarederror", SUGAR, PROGRESS, booster="gblinear")
    assert callable(dense.direct(booster))
