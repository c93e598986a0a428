"""Attributions against Shapley values from the definition, over all coalitions, and against closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mlgate.adapters.runtimes import explaining
from mlgate.adapters.runtimes.contract import Failed
from mlgate.adapters.runtimes.frameworks import Model, load_model
from mlgate.adapters.runtimes.pace import Pace, finished

NAMES = ["a", "b", "c", "d"]


def shapley(paths: int) -> dict[str, Any]:
    return {"explanation": {"sampledShapleyAttribution": {"numPaths": paths}}}


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Model]:
    def load(model: Any, metadata: Any = None, options: Any = None) -> Model:
        joblib.dump(model, tmp_path / "model.joblib")
        if metadata is not None:
            (tmp_path / explaining.METADATA).write_text(json.dumps(metadata))
        return load_model("", str(tmp_path), options or {})[1]

    return load


def told(model: Model, instances: Any, paths: int = 10, **fields: Any) -> list[dict[str, Any]]:
    """The one label of each explanation."""
    status, body = explaining.answer(model, shapley(paths), json.dumps({"instances": instances, **fields}).encode())
    assert status == 200, body
    return [one["attributions_by_label"][0] for one in json.loads(body)["explanations"]]


def refused(model: Model, body: Any, paths: int = 10) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = explaining.answer(model, shapley(paths), raw)
    assert status == 400, answer
    return str(json.loads(answer)["error"])


def by_definition(score: Callable[[Any], float], instance: Any, baseline: Any) -> list[float]:
    """phi(i) = sum over S without i of |S|! (d-|S|-1)! / d! (v(S and i) - v(S))."""
    features = range(len(instance))

    @cache
    def worth(coalition: frozenset[int]) -> float:
        return score(numpy.array([instance[i] if i in coalition else baseline[i] for i in features]))

    def of(i: int) -> float:
        rest = [j for j in features if j != i]
        total = 0.0
        for size in range(len(rest) + 1):
            weight = factorial(size) * factorial(len(instance) - size - 1) / factorial(len(instance))
            total += sum(weight * (worth(frozenset((*s, i))) - worth(frozenset(s))) for s in combinations(rest, size))
        return total

    return [of(i) for i in features]


@pytest.mark.parametrize("kind", ["forest", "logistic", "pipeline", "svc", "xgboost"])
def test_few_features_get_their_exact_shapley_values(loaded: Any, kind: str) -> None:
    x, y = load_iris(return_X_y=True)
    models = {
        "forest": RandomForestClassifier(20, random_state=1),
        "logistic": LogisticRegression(max_iter=500),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "svc": SVC(),
        "xgboost": xgboost.XGBClassifier(n_estimators=10),
    }
    fitted = models[kind].fit(x, y)
    instances = [x[0].tolist(), x[70].tolist(), x[120].tolist()]
    score = fitted.decision_function if kind == "svc" else fitted.predict_proba
    for instance, label in zip(instances, told(loaded(fitted), instances, paths=50), strict=True):
        index = label["label_index"]
        expected = by_definition(lambda row, i=index: float(score(row[None])[0][i]), instance, [0.0] * 4)  # type: ignore[misc]
        assert index == int(numpy.argmax(score([instance])[0]))
        assert label["attributions"]["features"] == pytest.approx(expected, abs=2e-6)
        assert label["approx_error"] == 0


@pytest.mark.parametrize("paths", [1, 2, 7, 50])
def test_a_linear_model_gets_weight_times_value_on_any_number_of_paths(loaded: Any, paths: int) -> None:
    x, y = load_diabetes(return_X_y=True)
    fitted = LinearRegression().fit(x, y)
    for instance, label in zip(x[:5], told(loaded(fitted), x[:5].tolist(), paths), strict=True):
        assert label["attributions"]["features"] == pytest.approx((fitted.coef_ * instance).tolist(), abs=1e-9)
        assert label["baseline_score"] == pytest.approx(fitted.intercept_)
        assert label["label_index"] == 0


@pytest.mark.parametrize("paths", [1, 3, 10, 50])
@pytest.mark.parametrize("kind", ["forest", "xgboost"])
def test_attributions_add_up_to_what_the_score_gained(loaded: Any, kind: str, paths: int) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    models = {"forest": RandomForestClassifier(10, random_state=1), "xgboost": xgboost.XGBClassifier(n_estimators=20)}
    for label in told(loaded(models[kind].fit(x, y)), x[:4].tolist(), paths):
        gained = label["example_score"] - label["baseline_score"]
        assert sum(label["attributions"]["features"]) == pytest.approx(gained, abs=1e-9)
        assert ("approx_error" in label) == (paths > 3)


def test_more_paths_come_nearer_to_the_exact_values(loaded: Any) -> None:
    x, y = load_diabetes(return_X_y=True)
    fitted = RandomForestRegressor(10, random_state=1).fit(x, y)
    model, instance = loaded(fitted), x[3]
    exact = numpy.array(by_definition(lambda row: float(fitted.predict(row[None])[0]), instance, [0.0] * 10))
    off = {}
    for paths in (4, 40):
        label = told(model, [instance.tolist()], paths)[0]
        off[paths] = float(numpy.abs(label["attributions"]["features"] - exact).sum()), label["approx_error"]
    assert off[40][0] < off[4][0]
    assert 0 < off[40][1] < off[4][1]


def test_pairs_of_orders_are_exact_where_features_act_two_by_two() -> None:
    from mlgate.adapters.runtimes import shapley as method

    x = numpy.arange(1.0, 13.0)[None]
    steps = method.attribute(
        lambda values, rows: values["x"][:, 0] * values["x"][:, 1] + values["x"].sum(axis=1),
        {"x": x}, {"x": numpy.zeros(12)}, numpy.zeros(1, int), 2, Pace(),
    )  # fmt: skip
    found = finished(steps)
    assert found.values["x"][0] == pytest.approx([1 + 1, 2 + 1, *range(3, 13)])


def test_an_answer_depends_on_its_own_instance_only(loaded: Any) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    model = loaded(RandomForestClassifier(5, random_state=1).fit(x, y))
    assert told(model, x[:5].tolist()) == told(model, x[:5].tolist())
    assert told(model, x[:5].tolist())[2] == told(model, x[2:3].tolist())[0]


def test_the_metadata_names_features_and_gives_baselines(loaded: Any) -> None:
    x, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    mean = x.mean(axis=0).tolist()
    data = {"input_tensor_name": "data:0", "input_baselines": [mean, 0], "index_feature_mapping": NAMES}
    model = loaded(fitted, {"inputs": {"data": data}, "outputs": {"species": {}}, "framework": "scikit-learn"})
    label = told(model, [x[0].tolist()], 50)[0]
    expected = [
        by_definition(lambda row: float(fitted.predict_proba(row[None])[0][0]), x[0], base) for base in (mean, [0] * 4)
    ]
    assert list(label["attributions"]) == NAMES
    assert list(label["attributions"].values()) == pytest.approx(numpy.mean(expected, axis=0), abs=1e-9)
    assert label["output_name"] == "species"
    bases = fitted.predict_proba([mean, [0] * 4])[:, 0]
    assert label["baseline_score"] == pytest.approx(bases.mean())


def test_whole_numbers_and_fractions_of_a_baseline_go_together(loaded: Any) -> None:
    fitted = LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [1.0, 3.0, 4.0])
    model = loaded(fitted, {"inputs": {"data": {"input_baselines": [0.5]}}})
    label = told(model, [[2, 1]])[0]
    assert label["attributions"] == {"data": pytest.approx([2 * 1.5, 3 * 0.5])}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("[", "cannot be used"),
        ([], "must be a JSON object"),
        ({"inputs": []}, "cannot be used"),
        ({"inputs": {"x": {"input_baselines": 3}}}, "list of baselines"),
        ({"inputs": {"x": {"index_feature_mapping": ["a", "a"]}}}, "twice"),
        ({"outputs": {"a": {}, "b": {}}}, "one output"),
    ],
)
def test_a_broken_metadata_file_fails_the_load(tmp_path: Path, loaded: Any, metadata: Any, reason: str) -> None:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    (tmp_path / explaining.METADATA).write_text(text)
    with pytest.raises(Failed, match=reason) as caught:
        loaded(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), options=shapley(5))
    assert caught.value.text.endswith("(Error code: 0)")


def test_integrated_gradients_need_a_model_with_derivatives(loaded: Any) -> None:
    with pytest.raises(Failed, match="TensorFlow"):
        loaded(
            LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]),
            options={"explanation": {"integratedGradientsAttribution": {"numIntegralSteps": 50}}},
        )


def test_what_cannot_be_explained_is_said(loaded: Any) -> None:
    x, y = load_iris(return_X_y=True)
    model = loaded(LogisticRegression(max_iter=500).fit(x, y))
    row = x[0].tolist()
    assert "not JSON" in refused(model, b"{")
    assert "no 'instances'" in refused(model, {})
    assert "only numbers" in refused(model, {"instances": [["a", "b", "c", "d"]]})
    assert "do not form an array" in refused(model, {"instances": [[1], [1, 2]]})
    assert "explanation" in refused(model, {"instances": [row[:2]]})
    assert "send fewer" in refused(model, {"instances": [row] * 40_000}, 50)
    assert refused(model, {"instances": [1, 2]}).endswith(")")


def test_a_missing_value_is_a_feature_like_another(loaded: Any) -> None:
    x, y = load_diabetes(return_X_y=True)
    x[::3, 2] = numpy.nan
    model = loaded(xgboost.XGBRegressor(n_estimators=20).fit(x, y))
    label = told(model, [[None if numpy.isnan(value) else value for value in x[0]]])[0]
    gained = label["example_score"] - label["baseline_score"]
    assert sum(label["attributions"]["features"]) == pytest.approx(gained, abs=1e-4)


def test_labels_without_numbers_are_not_explained(loaded: Any) -> None:
    fitted = SVC().fit([[0.0], [1.0]], ["no", "yes"])
    fitted.decision_function = None
    assert "nothing to explain" in refused(loaded(fitted), {"instances": [[1.0]]})


def test_softmax_models_of_xgboost_are_explained_by_their_margins(loaded: Any) -> None:
    x, y = load_iris(return_X_y=True)
    booster = xgboost.train(
        {"objective": "multi:softmax", "num_class": 3, "seed": 1}, xgboost.DMatrix(x, y), num_boost_round=5
    )
    label = told(loaded(booster), [x[120].tolist()], 50)[0]
    margins = booster.predict(xgboost.DMatrix(x[120:121]), output_margin=True)[0]
    assert label["label_index"] == 2
    assert label["example_score"] == pytest.approx(float(margins[2]))
    gained = label["example_score"] - label["baseline_score"]
    assert sum(label["attributions"]["features"]) == pytest.approx(gained, abs=1e-6)
