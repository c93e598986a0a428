"""Faster copies: which models have one, that it agrees with the original, and when the original answers instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.runtimes import faster, scikit_learn
from mlgate.adapters.runtimes import xgboost as boosted
from mlgate.adapters.runtimes.frameworks import Model
from mlgate.adapters.runtimes.pickled import Pickled
from mlgate.core import versions
from mlgate.ports import ModelSpec
from tests.hosts.models import model_class, spec

FLOWERS, KINDS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[KINDS]
CANCER, BENIGN = load_breast_cancer(return_X_y=True)
SUGAR, PROGRESS = load_diabetes(return_X_y=True)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As in a model's process; and threads that wait for each other are very slow where the processors are busy."""
    with threadpool_limits(1):
        yield


def model(source: Any) -> Model:
    if "xgboost" in type(source).__module__:
        return boosted.model_of(Pickled(source, ""))
    return scikit_learn.model_of(Pickled(source, ""))


def copied(source: Any, folder: Path) -> tuple[Model, Model, dict[str, Any]]:
    original, content = model(source), bytearray()
    said = faster.make(original, content.extend)
    (folder / faster.FILE).write_bytes(content)
    (folder / faster.DESCRIPTION).write_text(json.dumps(said))
    return original, faster.use(original, str(folder)), said


def boost(objective: str, x: Any, y: Any, **more: Any) -> xgboost.Booster:
    parameters = {"objective": objective, "max_depth": 4, "nthread": 1, **more}
    return xgboost.train(parameters, xgboost.DMatrix(x, y), num_boost_round=20)


COPIES: dict[str, tuple[Callable[[], Any], Any]] = {
    "a scaled logistic regression": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(FLOWERS, KINDS),
        FLOWERS,
    ),
    "labels that are text": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(FLOWERS, NAMES),
        FLOWERS,
    ),
    "a forest": (lambda: RandomForestClassifier(20, random_state=1, n_jobs=1).fit(CANCER, BENIGN), CANCER),
    "a tree": (lambda: DecisionTreeClassifier(random_state=1).fit(FLOWERS, KINDS), FLOWERS),
    "a linear regression": (lambda: LinearRegression().fit(SUGAR, PROGRESS / 1e5), SUGAR),
    "boosted regression": (lambda: GradientBoostingRegressor(n_estimators=20).fit(SUGAR, PROGRESS / 1e5), SUGAR),
    "histograms, three kinds": (lambda: HistGradientBoostingClassifier(max_iter=20).fit(FLOWERS, NAMES), FLOWERS),
    "histograms, a number": (lambda: HistGradientBoostingRegressor(max_iter=20).fit(SUGAR, PROGRESS / 100), SUGAR),
    "xgboost, two kinds": (lambda: boost("binary:logistic", CANCER, BENIGN), CANCER),
    "xgboost, three kinds": (lambda: boost("multi:softprob", FLOWERS, KINDS, num_class=3), FLOWERS),
    "xgboost, a number": (lambda: boost("reg:squarederror", SUGAR, PROGRESS), SUGAR),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_agrees_with_its_original(name: str, tmp_path: Path) -> None:
    make, rows = COPIES[name]
    original, quick, said = copied(make(), tmp_path)
    assert said["speedup"] > 1
    for count in (1, 3, said["maxRows"], said["maxRows"] + 1):
        asked = np.tile(rows, (3, 1))[:count]
        wanted, given = original.rows(original.predict(asked)), quick.rows(quick.predict(asked))
        assert len(given) == count
        if isinstance(wanted[0], float | list):
            np.testing.assert_allclose(given, wanted, rtol=faster.TOLERANCE, atol=faster.TOLERANCE)
        else:
            assert given == wanted


NO_COPY: dict[str, tuple[Callable[[], Any], str]] = {
    "numbers that single precision cannot tell apart": (
        lambda: LinearRegression().fit([[0.0], [1.0]], [0.0, float(1 << 26)]),
        "does not agree: it differs by up to",
    ),
    "text goes in": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["a good one", "a bad one"], [1, 0]),
        "does not say how many features|cannot be converted|chooses",
    ),
    "a function of one's own": (
        lambda: make_pipeline(FunctionTransformer(np.sin), LogisticRegression()).fit(FLOWERS, KINDS),
        "cannot be converted",
    ),
    "double precision after other steps": (
        lambda: make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5)).fit(FLOWERS, KINDS),
        "double precision",
    ),
    "labels that are fractions": (
        lambda: LogisticRegression(max_iter=500).fit(FLOWERS, KINDS / 1.0),
        "does not agree",
    ),
}


@pytest.mark.parametrize("name", NO_COPY)
def test_what_cannot_be_copied_is_told(name: str, tmp_path: Path) -> None:
    make, reason = NO_COPY[name]
    with pytest.raises(faster.Unable, match=reason):
        copied(make(), tmp_path)


def test_a_copy_that_gives_one_wrong_label_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = LogisticRegression(max_iter=500).fit(FLOWERS, KINDS)
    convert = faster._convert
    nearly = LogisticRegression(max_iter=500).fit(FLOWERS, KINDS)
    nearly.coef_ = nearly.coef_ * [[1.0], [1.05], [1.0]]
    monkeypatch.setattr(faster, "_convert", lambda _, features: convert(nearly, features))
    with pytest.raises(faster.Unable, match=r"another label for \d+ of 1024 sample rows"):
        copied(source, tmp_path)


class Counted:
    """The original, which counts what it is asked."""

    def __init__(self, original: Model) -> None:
        self.rows: list[int] = []
        self.model = original._replace(predict=self.predict)
        self._predict = original.predict

    def predict(self, inputs: Any) -> Any:
        self.rows.append(len(inputs))
        return self._predict(inputs)


@pytest.mark.parametrize(
    ("asked", "is_copied"),
    [
        ([[5.1, 3.5, 1.4, 0.2]], True),
        ([[5, 3, 1, 0]], True),
        ([[1 << 25, 3, 1, 0]], False),
        ([[1e300, 3.0, 1.0, 0.0]], False),
        ([[True, False, True, True]], False),
        ([[5.1, 3.5, 1.4, 0.2]] * 1000, False),
    ],
    ids=["numbers", "integers", "an integer too large", "a number too large", "booleans", "many rows"],
)
def test_who_answers(asked: list[Any], is_copied: bool, tmp_path: Path) -> None:
    _, _, said = copied(make_pipeline(StandardScaler(), LogisticRegression()).fit(FLOWERS, KINDS), tmp_path)
    counted = Counted(model(make_pipeline(StandardScaler(), LogisticRegression()).fit(FLOWERS, KINDS)))
    quick = faster.use(counted.model, str(tmp_path))
    quick.predict(np.array(asked))
    assert bool(counted.rows) is not is_copied, said


def test_double_precision_decides_where_it_matters(tmp_path: Path) -> None:
    """Numbers that single precision cannot tell from a threshold of the model."""
    made = HistGradientBoostingRegressor(max_iter=20, random_state=1).fit(SUGAR, PROGRESS / 100)
    original, quick, _ = copied(made, tmp_path)
    rows = np.tile(SUGAR, (3, 1))
    for feature, thresholds in faster._thresholds(made).items():
        rows[:, feature] = np.resize(thresholds, len(rows))
    rows *= 1 + np.random.default_rng(1).choice([0, 1e-9, -1e-9, 1e-8, -1e-8], rows.shape)
    single = made.predict(rows.astype(np.float32))
    assert np.abs(single - made.predict(rows)).max() > 0.01
    for row in rows[:200]:
        assert quick.predict(row[None]) == pytest.approx(original.predict(row[None]), abs=faster.TOLERANCE)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'nothing'", name="nothing"), "environment has no nothing."),
        (ModuleNotFoundError("No module named 'json.gone'", name="json.gone"), "cannot be imported.*json.gone"),
        (ImportError("cannot import name 'gone' from 'json'", name="json"), "cannot be imported.*'gone' from 'json'"),
        (ImportError("libgone.so: cannot open"), "cannot be imported.*libgone.so"),
    ],
)
def test_a_library_that_breaks_is_told_from_one_that_is_missing(
    error: ImportError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: Any, features: int) -> bytes:
        raise error

    monkeypatch.setattr(faster, "_convert", fails)
    with pytest.raises(faster.Unable, match=said):
        copied(LogisticRegression(max_iter=500).fit(FLOWERS, KINDS), tmp_path)


def test_wrong_rows_get_the_originals_error(tmp_path: Path) -> None:
    original, quick, _ = copied(LogisticRegression(max_iter=500).fit(FLOWERS, KINDS), tmp_path)
    for asked in (np.array([[1.0, 2.0]]), np.array([[np.nan] * 4]), np.array(["a"])):
        with pytest.raises(ValueError) as wanted:  # noqa: PT011  # scikit-learn's words are compared
            original.predict(asked)
        with pytest.raises(ValueError) as given:  # noqa: PT011
            quick.predict(asked)
        assert str(given.value) == str(wanted.value)


def test_a_column_choice_by_name_has_no_copy(tmp_path: Path) -> None:
    chosen = ColumnTransformer([("scale", StandardScaler(), [0, 1])], remainder="passthrough")
    made = make_pipeline(chosen, LogisticRegression(max_iter=500)).fit(FLOWERS, KINDS)
    made.steps[0][1].feature_names_in_ = np.array(["a", "b", "c", "d"])  # as after fitting with a pandas table
    with pytest.raises(faster.Unable, match="by name"):
        copied(made, tmp_path)


def test_a_tie_is_decided_by_the_original(tmp_path: Path) -> None:
    """Twenty trees vote, and often ten against ten."""
    forest = RandomForestClassifier(20, random_state=1, n_jobs=1).fit(CANCER, BENIGN)
    original, quick, _ = copied(forest, tmp_path)
    rows = faster._sample(forest, CANCER.shape[1])
    ties = rows[forest.predict_proba(rows)[:, 0] == 0.5]
    assert len(ties) > 10
    for row in ties:
        assert quick.predict(row[None])[0] == original.predict(row[None])[0]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"maxRows": 32, "speedup": 18.2}, {"state": "READY", "format": "ONNX", "maxRows": 32, "speedup": 18.2}),
        ({"reason": "no\x00no"}, {"state": "UNAVAILABLE", "reason": "nono"}),
        ({"maxRows": "many"}, {"state": "UNAVAILABLE", "reason": "The process that made it did not describe it."}),
        ({}, {"state": "UNAVAILABLE", "reason": "The process that made it did not describe it."}),
        ({"maxRows": 1e12, "speedup": 1e300}, {"state": "READY", "format": "ONNX", "maxRows": 1 << 20, "speedup": 1e6}),
    ],
)
def test_what_a_process_says_of_its_copy_is_bounded(said: dict[str, Any], shown: dict[str, Any]) -> None:
    assert versions.copy_of(said) == shown


def test_a_copy_is_made_and_used_in_the_sandbox(supervisor: ModelSupervisor, folder: Path) -> None:
    forest = RandomForestClassifier(20, random_state=1, n_jobs=1).fit(CANCER, BENIGN)
    made = spec(folder, forest, "forest")
    copy = folder / "forest-copy"
    copy.mkdir()
    framework, said = supervisor.copy(made, copy / faster.FILE)
    assert (framework, said["format"]) == ("SCIKIT_LEARN", "ONNX")
    (copy / faster.FILE).chmod(0o644)
    (copy / faster.DESCRIPTION).write_text(json.dumps(said))
    quick = ModelSpec("quick", made.directory, made.framework, made.python, options={"copy": str(copy)})

    async def answers(which: ModelSpec) -> Any:
        host = SocketModelHost(supervisor.run_dir)
        try:
            bodies = [json.dumps({"instances": CANCER[n : n + 3].tolist()}).encode() for n in range(0, 60, 3)]
            return [(await host.predict(which, body, 60)).body for body in bodies]
        finally:
            await host.close()

    assert asyncio.run(answers(quick)) == asyncio.run(answers(made))
    for uid in ("forest", "quick"):
        supervisor.unload(uid)


def test_a_model_that_cannot_be_copied_still_loads(supervisor: ModelSupervisor, folder: Path) -> None:
    made = spec(folder, model_class("return x[:, 0]"), "own-class")
    framework, said = supervisor.copy(made, folder / "no-copy.onnx")
    assert framework == "SCIKIT_LEARN"
    assert "features" in said["reason"] or "converted" in said["reason"]


def test_a_broken_copy_is_left_alone(supervisor: ModelSupervisor, folder: Path) -> None:
    made = spec(folder, LogisticRegression(max_iter=500).fit(FLOWERS, KINDS), "broken-copy")
    copy = folder / "broken"
    copy.mkdir()
    (copy / faster.FILE).write_bytes(b"no model")
    (copy / faster.DESCRIPTION).write_text("{}")
    joblib.dump(None, copy / "other")
    broken = ModelSpec("broken-copy", made.directory, made.framework, made.python, options={"copy": str(copy)})
    assert supervisor.load(broken) == "SCIKIT_LEARN"
    supervisor.unload("broken-copy")
