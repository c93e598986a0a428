"""Frameworks and code of the user's own through the API: deployed from buckets, predicted, refused."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import pytest
import xgboost
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline

from tests.harness import OWNER, Server
from tests.hosts.packages import source_archive, wheel
from tests.hosts.test_packages import HOSTILE
from tests.http.people import Api, error_of

DEV = "user:dev@example.com"
P = "/v1/projects/code-project"
BUCKET = "code-project-files"
RUNTIME = {"runtimeVersion": "2.11", "pythonVersion": "3.7"}
ROUTINE = """
class Routine:
    def __init__(self, names):
        self.names = names

    def predict(self, instances, **kwargs):
        if kwargs.get("fail"):
            raise ValueError("as you wish")
        return [{"name": self.names[i], "image": b"\\xff", **kwargs} for i in instances]

    @classmethod
    def from_path(cls, model_dir):
        with open(model_dir + "/names.txt") as file:
            return cls(file.read().split())
"""
STEP = """
from sklearn.base import BaseEstimator

class Sum(BaseEstimator):
    def fit(self, x, y=None):
        return self

    def predict(self, x):
        return x.sum(axis=1)

    def __sklearn_is_fitted__(self):
        return True
"""


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.new_project("code-project")
        policy = made.done(OWNER, "POST", f"{P}:getIamPolicy")
        policy["bindings"].append({"role": "roles/ml.developer", "members": [DEV]})
        made.done(OWNER, "POST", f"{P}:setIamPolicy", {"policy": policy})
        made.done(OWNER, "POST", "/storage/v1/b", {"name": BUCKET}, params={"project": "code-project"})
        yield made


def put(api: Api, name: str, data: bytes) -> str:
    """An object, and its address."""
    headers = {"Authorization": f"Bearer {api.bearers[OWNER]}"}
    where = {"uploadType": "media", "name": name}
    stored = api.client.post(f"/upload/storage/v1/b/{BUCKET}/o", params=where, content=data, headers=headers)
    assert stored.is_success, stored.text
    return f"gs://{BUCKET}/{name}"


def put_archive(api: Api, folder: Path, name: str, files: dict[str, str]) -> str:
    make = wheel if name.endswith(".whl") else source_archive
    return put(api, f"packages/{folder.name}/{name}", make(folder / name, files).read_bytes())


def create(api: Api, model: str, by: str = OWNER, **fields: Any) -> dict[str, Any]:
    """The ended operation of a version `v` of a new model."""
    api.done(by, "POST", f"{P}/models", {"name": model})
    operation = api.done(by, "POST", f"{P}/models/{model}/versions", {"name": "v", **RUNTIME, **fields})
    until = time.monotonic() + 120
    while not operation.get("done"):
        assert time.monotonic() < until, operation
        time.sleep(0.05)
        operation = api.done(by, "GET", f"/v1/{operation['name']}")
    return dict(operation)


def predict(api: Api, model: str, **body: Any) -> Any:
    return api(OWNER, "POST", f"{P}/models/{model}:predict", body)


@pytest.mark.parametrize("framework", [{"framework": "XGBOOST"}, {}])
@pytest.mark.parametrize("name", ["model.bst", "model.joblib"])
def test_an_xgboost_model_is_deployed_and_gives_probabilities(
    api: Api, tmp_path: Path, name: str, framework: dict[str, str]
) -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    trained = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(rows, labels)
    if name == "model.bst":
        trained.get_booster().save_model(tmp_path / "model.ubj")
        (tmp_path / "model.ubj").rename(tmp_path / name)
    else:
        joblib.dump(trained, tmp_path / name)
    model = f"boosted_{name[6:]}_{len(framework)}"
    put(api, f"{model}/{name}", (tmp_path / name).read_bytes())
    ended = create(api, model, deploymentUri=f"gs://{BUCKET}/{model}", **framework)
    assert ended["response"]["framework"] == "XGBOOST", ended
    answer = predict(api, model, instances=rows[:3].tolist())
    assert answer.json() == {"predictions": trained.get_booster().predict(xgboost.DMatrix(rows[:3])).tolist()}
    wrong = predict(api, model, instances=[["a"] * 30])
    assert wrong.status_code == 400
    assert wrong.json()["error"].startswith("Failed to run the provided model: Could not initialize DMatrix")


def test_an_old_binary_model_fails_with_the_way_to_convert_it(api: Api) -> None:
    put(api, "old/model.bst", b"binf" + bytes(100))
    ended = create(api, "old", deploymentUri=f"gs://{BUCKET}/old")
    assert ended["error"]["code"] == 9
    assert "old binary format of XGBoost" in ended["error"]["message"]
    assert "save_model('model.ubj')" in ended["error"]["message"]
    assert "Error code: 0" in api.done(OWNER, "GET", f"{P}/models/old/versions/v")["errorMessage"]


def test_a_custom_routine_is_deployed_and_predicts(api: Api, tmp_path: Path) -> None:
    put(api, "routine/names.txt", b"ada bob")
    package = put_archive(api, tmp_path, "mine-0.1.tar.gz", {"setup.py": "raise SystemExit", "mine/main.py": ROUTINE})
    fields = {"predictionClass": "mine.main.Routine", "packageUris": [package]}
    ended = create(api, "routine", deploymentUri=f"gs://{BUCKET}/routine", **fields)
    version = ended["response"]
    assert version["state"] == "READY"
    assert "framework" not in version
    assert {name: version[name] for name in fields} == fields
    image = {"b64": "/w=="}
    assert predict(api, "routine", instances=[0, 1], size=5).json() == {
        "predictions": [{"name": "ada", "image": image, "size": 5}, {"name": "bob", "image": image, "size": 5}]
    }
    failed = predict(api, "routine", instances=[0], fail=True)
    assert failed.status_code == 400
    assert failed.json() == {
        "error": "Failed to run the provided model: Exception during custom prediction: ValueError: as you wish"
        " (Error code: 2)"
    }
    assert predict(api, "routine", instances=5).status_code == 400


def test_a_pipeline_finds_its_own_code_in_packages(api: Api, tmp_path: Path) -> None:
    """scikit-learn with packageUris and without predictionClass."""
    package = put_archive(api, tmp_path, "own_steps-1-py3-none-any.whl", {"own_steps.py": STEP})
    put(api, "pipeline/model.pkl", _pickled_pipeline())
    without = create(api, "pipeline0", deploymentUri=f"gs://{BUCKET}/pipeline", framework="SCIKIT_LEARN")
    assert "needs the module 'own_steps'" in without["error"]["message"]
    create(api, "pipeline", deploymentUri=f"gs://{BUCKET}/pipeline", packageUris=[package])
    assert predict(api, "pipeline", instances=[[1, 2], [3, 4]]).json() == {"predictions": [3, 7]}


def _pickled_pipeline() -> bytes:
    """Pipeline([("sum", own_steps.Sum())]), without having own_steps here."""
    module = ModuleType("own_steps")
    module.Sum = type("Sum", (BaseEstimator,), {"__module__": "own_steps"})  # type: ignore[attr-defined]
    sys.modules["own_steps"] = module
    try:
        return pickle.dumps(Pipeline([("sum", module.Sum())]))
    finally:
        del sys.modules["own_steps"]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"predictionClass": "a.B"}, "packageUris", "predictionClass needs packageUris"),
        (
            {"predictionClass": "a.B", "packageUris": ["gs://b123/a.whl"], "framework": "XGBOOST"},
            "framework",
            "must not",
        ),
        ({"predictionClass": "B", "packageUris": ["gs://b123/a.whl"]}, "predictionClass", "PACKAGE.MODULE.CLASS"),
        ({"predictionClass": "a.B()", "packageUris": ["gs://b123/a.whl"]}, "predictionClass", "PACKAGE.MODULE.CLASS"),
        ({"packageUris": ["gs://b123/a.whl", "gs://b123/a.egg"]}, "packageUris[1]", "neither a .tar.gz"),
        ({"packageUris": ["https://example.com/a.whl"]}, "packageUris[0]", "no address of a bucket"),
        ({"packageUris": ["gs://b123/../a.whl"]}, "packageUris[0]", "segment"),
        ({"packageUris": ["gs://b123/a.whl"] * 101}, "packageUris", "100 are allowed"),
    ],
)
def test_wrong_fields_are_refused_before_anything_is_stored(
    api: Api, fields: dict[str, Any], field: str, says: str
) -> None:
    if api(OWNER, "GET", f"{P}/models/wrong").status_code == 404:
        api.done(OWNER, "POST", f"{P}/models", {"name": "wrong"})
    body = {"name": "v", "deploymentUri": f"gs://{BUCKET}/x", **RUNTIME, **fields}
    refused = api(OWNER, "POST", f"{P}/models/wrong/versions", body)
    assert refused.status_code == 400
    error = error_of(refused)
    assert says in error["message"]
    (detail,) = [d for d in error["details"] if "fieldViolations" in d]
    assert detail["fieldViolations"][0]["field"] == f"version.{field}"
    assert "versions" not in api.done(OWNER, "GET", f"{P}/models/wrong/versions")


@pytest.mark.parametrize("field", ["container", "routes", "acceleratorConfig"])
def test_what_is_not_there_answers_by_name(api: Api, field: str) -> None:
    api(OWNER, "POST", f"{P}/models", {"name": "later"})
    values = {"container": {"image": "i"}, "routes": {"predict": "/p"}, "acceleratorConfig": {"count": "1"}}
    body = {"name": "v", "deploymentUri": f"gs://{BUCKET}/x", **RUNTIME, field: values[field]}
    refused = api(OWNER, "POST", f"{P}/models/later/versions", body)
    assert refused.status_code == 501
    assert f"Version.{field}" in error_of(refused)["message"]


def test_a_package_that_is_not_there_fails_the_deployment(api: Api) -> None:
    put(api, "absent/names.txt", b"ada")
    fields = {"predictionClass": "a.B", "packageUris": [f"gs://{BUCKET}/absent/a.tar.gz"]}
    ended = create(api, "absent", deploymentUri=f"gs://{BUCKET}/absent", **fields)
    assert ended["error"]["message"] == f"The package gs://{BUCKET}/absent/a.tar.gz of packageUris does not exist."


def test_a_custom_routine_may_act_as_an_account_that_its_deployer_may_act_as(api: Api, tmp_path: Path) -> None:
    """R-093 for versions."""
    put(api, "acting/names.txt", b"ada")
    package = put_archive(api, tmp_path, "mine-0.1.tar.gz", {"mine.py": ROUTINE})
    account = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "runs-code"})
    fields = {"predictionClass": "mine.Routine", "packageUris": [package], "serviceAccount": account["email"]}
    body = {"name": "v", "deploymentUri": f"gs://{BUCKET}/acting", **RUNTIME, **fields}
    api.done(DEV, "POST", f"{P}/models", {"name": "acting0"})
    assert api(DEV, "POST", f"{P}/models/acting0/versions", body).status_code == 403
    assert api.bind(f"/v1/{account['name']}", {"roles/iam.serviceAccountUser": [DEV]}).is_success
    ended = create(api, "acting", by=DEV, **{k: v for k, v in body.items() if k != "name"})
    assert ended["response"]["serviceAccount"] == account["email"]


READER = """
import os
import urllib.request

class Reader:
    def predict(self, instances, **kwargs):
        return [self.read(name) for name in instances]

    def read(self, name):
        server = os.environ.get("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
        try:
            address = server + "/storage/v1/b/code-project-files/o/" + name + "?alt=media"
            return urllib.request.urlopen(address).read().decode()
        except Exception as error:
            return str(getattr(error, "code", type(error).__name__))

    @classmethod
    def from_path(cls, model_dir):
        return cls()
"""


def test_a_custom_routine_reaches_what_its_account_may_reach_and_nothing_without_one(api: Api, tmp_path: Path) -> None:
    put(api, "reading/names.txt", b"ada and lin")
    package = put_archive(api, tmp_path, "reader-0.1.tar.gz", {"reader.py": READER})
    account = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "reads-files"})
    fields = {"deploymentUri": f"gs://{BUCKET}/reading", "predictionClass": "reader.Reader", "packageUris": [package]}
    assert "error" not in create(api, "reads", **fields, serviceAccount=account["email"])
    assert "error" not in create(api, "alone", **fields)
    asked = {"instances": ["reading%2Fnames.txt"]}
    assert predict(api, "reads", **asked).json() == {"predictions": ["403"]}
    policy = api.done(OWNER, "GET", f"/storage/v1/b/{BUCKET}/iam")
    member = f"serviceAccount:{account['email']}"
    policy.setdefault("bindings", []).append({"role": "roles/storage.objectViewer", "members": [member]})
    api.done(OWNER, "PUT", f"/storage/v1/b/{BUCKET}/iam", policy)
    assert predict(api, "reads", **asked).json() == {"predictions": ["ada and lin"]}
    assert predict(api, "alone", **asked).json() == {"predictions": ["URLError"]}
    api.done(OWNER, "POST", f"/v1/{account['name']}:disable", {})
    assert predict(api, "reads", **asked).json()["predictions"][0] in ("401", "403", "502", "503")


@pytest.mark.parametrize("name", ["up.tar.gz", "symlink.tar.gz", "bomb.tar.gz", "bomb.whl", "text.whl"])
def test_a_hostile_package_fails_its_own_deployment_and_nothing_else(api: Api, name: str) -> None:
    model = "hostile_" + name.replace(".", "_")
    put(api, f"{model}/names.txt", b"ada")
    package = put(api, f"{model}-code/{name}", HOSTILE[name][0])
    fields = {"predictionClass": "mine.Routine", "packageUris": [package]}
    ended = create(api, model, deploymentUri=f"gs://{BUCKET}/{model}", **fields)
    assert f"the package {name} cannot be unpacked" in ended["error"]["message"]
    assert "(Error code: 4)" in ended["error"]["message"]
    assert api(OWNER, "GET", f"{P}/models").status_code == 200
