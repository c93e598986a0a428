"""Explanations through the API: who may have them, which versions give them, and what the configuration may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import OWNER, Server
from tests.http.deployed import RUNTIME, deploy, linear, new_bucket, put, share, upload
from tests.http.people import Api, error_of

P = "/v1/projects/explain-project"
M = f"{P}/models/m"
BUCKET = "explain-project-files"
USER, VIEWER = "user:user@example.com", "user:viewer@example.com"
SHAPLEY = {"sampledShapleyAttribution": {"numPaths": 10}}
BODY = {"instances": [[1, 2], [3, -1]]}


@pytest.fixture(scope="module")
def api(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([OWNER])
        made.new_project("explain-project")
        new_bucket(made, "explain-project", BUCKET)
        made.done(OWNER, "POST", f"{P}/models", {"name": "m"})
        share(made, M, "roles/ml.modelUser", USER)
        share(made, P, "roles/ml.viewer", VIEWER)
        uri = upload(made, tmp_path_factory.mktemp("m"), BUCKET, "m", linear())
        assert "response" in deploy(made, M, "plain", uri)
        assert "response" in deploy(made, M, "explained", uri, explanationConfig=SHAPLEY)
        yield made


def test_each_feature_is_credited_with_what_it_adds(api: Api) -> None:
    answer = api.done(USER, "POST", f"{M}/versions/explained:explain", BODY)
    labels = [one["attributions_by_label"][0] for one in answer["explanations"]]
    assert [label["attributions"]["features"] for label in labels] == [
        pytest.approx([2.0, 6.0]),
        pytest.approx([6.0, -3.0]),
    ]
    assert [label["example_score"] for label in labels] == pytest.approx([9.0, 4.0])
    assert [label["baseline_score"] for label in labels] == pytest.approx([1.0, 1.0])
    assert {(label["label_index"], label["output_name"]) for label in labels} == {(0, "score")}


def test_the_model_explains_with_its_default_version(api: Api) -> None:
    refused = api(USER, "POST", f"{M}:explain", BODY)
    assert error_of(refused)["status"] == "FAILED_PRECONDITION"
    assert "explanationConfig" in error_of(refused)["message"]
    api.done(OWNER, "POST", f"{M}/versions/explained:setDefault", {})
    try:
        assert "explanations" in api.done(USER, "POST", f"{M}:explain", BODY)
    finally:
        api.done(OWNER, "POST", f"{M}/versions/plain:setDefault", {})


def test_a_version_that_explains_also_predicts(api: Api) -> None:
    assert api.done(USER, "POST", f"{M}/versions/explained:predict", BODY) == {
        "predictions": [pytest.approx(9.0), pytest.approx(4.0)]
    }


@pytest.mark.parametrize("path", [f"{M}:explain", f"{M}/versions/explained:explain", f"{M}/versions/none:explain"])
def test_who_may_not_predict_may_not_explain(api: Api, path: str) -> None:
    for who in (VIEWER, "user:stranger@example.com"):
        assert error_of(api(who, "POST", path, BODY))["status"] == "PERMISSION_DENIED"
    assert api("", "POST", path, BODY).status_code == 401


def test_a_wrong_body_is_the_callers_and_said_as_predictions_say_it(api: Api) -> None:
    for body, reason in (({"instances": []}, "empty"), ({"instances": [["a", "b"]]}, "numbers"), ({}, "instances")):
        answer = api(USER, "POST", f"{M}/versions/explained:explain", body)
        assert answer.status_code == 400
        assert reason in answer.json()["error"]
    assert error_of(api(USER, "POST", f"{M}/versions/none:explain", BODY))["status"] == "NOT_FOUND"


def test_the_configuration_is_shown(api: Api) -> None:
    assert api.done(VIEWER, "GET", f"{M}/versions/explained")["explanationConfig"] == SHAPLEY


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"explanationConfig": {}}, "INVALID_ARGUMENT", "one method"),
        ({"explanationConfig": {**SHAPLEY, "xraiAttribution": {"numIntegralSteps": 5}}}, "INVALID_ARGUMENT", "one"),
        ({"explanationConfig": {"sampledShapleyAttribution": {}}}, "INVALID_ARGUMENT", "between 1 and 50"),
        ({"explanationConfig": {"sampledShapleyAttribution": {"numPaths": 51}}}, "INVALID_ARGUMENT", "between"),
        ({"explanationConfig": {"sampledShapleyAttribution": {"numPaths": -1}}}, "INVALID_ARGUMENT", "between"),
        ({"explanationConfig": {"integratedGradientsAttribution": {"numIntegralSteps": 101}}}, "INVALID_ARGUMENT",
         "between 1 and 100"),
        ({"explanationConfig": {"integratedGradientsAttribution": {"numIntegralSteps": 50}},
          "framework": "SCIKIT_LEARN"}, "INVALID_ARGUMENT", "TensorFlow"),
        ({"explanationConfig": {"xraiAttribution": {"numIntegralSteps": 50}}, "framework": "XGBOOST"},
         "INVALID_ARGUMENT", "TensorFlow"),
        ({"explanationConfig": {"xraiAttribution": {"numIntegralSteps": 50}}}, "UNIMPLEMENTED", "xraiAttribution"),
        ({"explanationConfig": SHAPLEY, "predictionClass": "a.b.C", "packageUris": [f"gs://{BUCKET}/c.whl"]},
         "INVALID_ARGUMENT", "custom"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_by_name(api: Api, fields: Any, status: str, reason: str) -> None:
    body = {
        "name": "v",
        "deploymentUri": f"gs://{BUCKET}/m",
        **RUNTIME,
        **fields,
    }
    error = error_of(api(OWNER, "POST", f"{M}/versions", body))
    assert error["status"] == status
    assert reason in error["message"]


def test_what_the_files_do_not_allow_fails_the_deployment(api: Api, tmp_path: Path) -> None:
    uri = upload(api, tmp_path, BUCKET, "wrong", linear())
    ended = deploy(
        api, M, "gradients", uri, explanationConfig={"integratedGradientsAttribution": {"numIntegralSteps": 5}}
    )
    assert "TensorFlow" in ended["error"]["message"]
    put(api, BUCKET, "wrong/explanation_metadata.json", b'{"inputs": 3}')
    ended = deploy(api, M, "metadata", uri, explanationConfig=SHAPLEY)
    assert "explanation_metadata.json" in ended["error"]["message"]


def test_features_have_the_names_that_the_metadata_gives(api: Api, tmp_path: Path) -> None:
    uri = upload(api, tmp_path, BUCKET, "named", linear())
    data = {"index_feature_mapping": ["a", "b"], "input_baselines": [[1, 1]]}
    put(api, BUCKET, "named/explanation_metadata.json", json.dumps({"inputs": {"data": data}}).encode())
    assert "response" in deploy(api, M, "named", uri, explanationConfig=SHAPLEY)
    answer = api.done(USER, "POST", f"{M}/versions/named:explain", {"instances": [[3, 1]]})
    label = answer["explanations"][0]["attributions_by_label"][0]
    assert label["attributions"] == {"a": pytest.approx(4.0), "b": pytest.approx(0.0)}
    assert label["baseline_score"] == pytest.approx(6.0)
