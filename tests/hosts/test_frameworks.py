"""Each framework's models: what is loaded, what is answered, and what is said when it cannot be."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_iris

from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.adapters.runtimes import tensorflow as saved_models
from mlgate.adapters.runtimes.batching import answer
from mlgate.adapters.runtimes.contract import Failed
from mlgate.adapters.runtimes.frameworks import Model, load_model
from mlgate.core.errors import FailedPrecondition
from mlgate.ports import ModelSpec
from tests.hosts.models import Written, iris
from tests.hosts.packages import source_archive, wheel
from tests.hosts.test_model_process import run

ROWS = load_breast_cancer(return_X_y=True)[0][:20].round(3)
FLOWERS = load_iris(return_X_y=True)[0][::10]


@cache
def classifier() -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=12, max_depth=3).fit(*load_breast_cancer(return_X_y=True))


@cache
def three_classes() -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(*load_iris(return_X_y=True))


@cache
def regressor(booster: str = "gbtree") -> xgboost.XGBRegressor:
    made = xgboost.XGBRegressor(n_estimators=8, booster=booster, verbosity=0)
    return made.fit(*load_breast_cancer(return_X_y=True))


def predictions(model: Model, instances: Any, **fields: Any) -> Any:
    ((status, body),) = answer(model, [json.dumps({"instances": instances, **fields}).encode()])
    assert status == 200, body
    return json.loads(body)["predictions"]


def failure(model: Model, instances: Any, **fields: Any) -> str:
    ((status, body),) = answer(model, [json.dumps({"instances": instances, **fields}).encode()])
    assert status == 400, body
    return str(json.loads(body)["error"])


def probabilities(model: Any, rows: Any) -> Any:
    booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
    return booster.predict(xgboost.DMatrix(np.array(rows))).tolist()


# ------------------------------------------------------------------------------------------------------------ xgboost


def saved_as_bst(folder: Path, model: Any) -> None:
    model.get_booster().save_model(folder / "model.ubj")
    (folder / "model.ubj").rename(folder / "model.bst")


def saved_as_json(folder: Path, model: Any) -> None:
    model.get_booster().save_model(folder / "model.json")
    (folder / "model.json").rename(folder / "model.bst")


def dumped_booster(folder: Path, model: Any) -> None:
    joblib.dump(model.get_booster(), folder / "model.joblib")


def pickled_wrapper(folder: Path, model: Any) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(model))


@pytest.mark.parametrize("framework", ["XGBOOST", ""])
@pytest.mark.parametrize("save", [saved_as_bst, saved_as_json, dumped_booster, pickled_wrapper])
@pytest.mark.parametrize("trained", [classifier, three_classes, regressor, lambda: regressor("gblinear")])
def test_xgboost_gives_what_its_booster_gives(
    tmp_path: Path, trained: Callable[[], Any], save: Callable[[Path, Any], None], framework: str
) -> None:
    save(tmp_path, trained())
    rows = (FLOWERS if trained is three_classes else ROWS).tolist()
    found, model = load_model(framework, str(tmp_path), {})
    assert found == "XGBOOST"
    assert predictions(model, rows) == probabilities(trained(), rows)
    assert predictions(model, rows[:1]) == probabilities(trained(), rows[:1])


def test_a_pickle_is_looked_for_before_model_bst(tmp_path: Path) -> None:
    saved_as_bst(tmp_path, three_classes())
    dumped_booster(tmp_path, classifier())
    assert predictions(load_model("XGBOOST", str(tmp_path), {})[1], ROWS.tolist()) == probabilities(
        classifier(), ROWS.tolist()
    )


def test_as_scikit_learn_a_pickled_classifier_gives_labels(tmp_path: Path) -> None:
    pickled_wrapper(tmp_path, classifier())
    found, model = load_model("SCIKIT_LEARN", str(tmp_path), {})
    assert found == "SCIKIT_LEARN"
    assert predictions(model, ROWS.tolist()) == classifier().predict(ROWS).tolist()


def test_features_with_names_are_matched_by_place(tmp_path: Path) -> None:
    matrix = xgboost.DMatrix(ROWS, label=np.arange(20) % 2, feature_names=[f"feature_{i}" for i in range(30)])
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, 3)
    joblib.dump(booster, tmp_path / "model.joblib")
    given = predictions(load_model("XGBOOST", str(tmp_path), {})[1], ROWS.tolist())
    assert given == booster.predict(matrix).tolist()


def test_a_null_is_a_missing_value_for_xgboost(tmp_path: Path) -> None:
    saved_as_bst(tmp_path, classifier())
    gap = [None, *ROWS[0].tolist()[1:]]
    wanted = probabilities(classifier(), [[np.nan, *ROWS[0].tolist()[1:]]])
    assert predictions(load_model("XGBOOST", str(tmp_path), {})[1], [gap]) == wanted


@pytest.mark.parametrize(
    ("instances", "says"),
    [
        ([["a"] * 30], "Failed to run the provided model: Could not initialize DMatrix from inputs: Unicode"),
        ([1.0, 2.0], "Failed to run the provided model: Could not initialize DMatrix from inputs: Please reshape"),
        (
            [[1e300] * 30],
            "Failed to run the provided model: Could not initialize DMatrix from inputs: valid: Input data",
        ),
        ([[1.0] * 31], "Failed to run the provided model: Exception during xgboost prediction: "),
        ([[1.0], [1.0, 2.0]], "Invalid inputs: "),
    ],
)
def test_wrong_instances_for_xgboost_are_told_so(tmp_path: Path, instances: Any, says: str) -> None:
    saved_as_bst(tmp_path, classifier())
    text = failure(load_model("XGBOOST", str(tmp_path), {})[1], instances)
    assert text.startswith(says)
    assert "/workspace" not in text
    assert "Stack trace" not in text


@pytest.mark.parametrize(
    ("files", "framework", "says"),
    [
        ({"model.bst": b"binf" + bytes(200)}, "XGBOOST", r"old binary format of XGBoost.*save_model\('model.ubj'\)"),
        ({"model.bst": b"binf" + bytes(200)}, "", "old binary format of XGBoost"),
        ({"model.bst": b"nonsense"}, "XGBOOST", "model.bst could not be read: .*written by Booster.save_model"),
        ({"model.bst": b""}, "XGBOOST", "model.bst could not be read"),
        ({"model.txt": b""}, "XGBOOST", "none of model.joblib, model.pkl, model.bst .* holds: model.txt"),
        ({"model.pkl": pickle.dumps({"a": 1})}, "XGBOOST", "Invalid model type detected: builtins.dict"),
        ({"model.pkl": pickle.dumps(xgboost.XGBClassifier())}, "XGBOOST", "holds no Booster that can predict: need to"),
        ({"model.pkl": pickle.dumps({"a": 1})}, "", "Invalid model type detected: builtins.dict"),
        ({"model.txt": b""}, "", "neither model.joblib nor model.pkl"),
        ({"model.txt": b""}, "TENSORFLOW", "saved_model.pb is not in the model's folder, which holds: model.txt"),
        ({"saved_model.pb": b""}, "TENSORFLOW", "has no TensorFlow .*choose a runtimeVersion that has it"),
        ({"saved_model.pb": b""}, "", "has no TensorFlow"),
        ({}, "CAFFE", "framework 'CAFFE' cannot be served here"),
    ],
)
def test_files_that_are_no_model_are_told_so(
    tmp_path: Path, files: dict[str, bytes], framework: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(Failed) as failed:
        load_model(framework, str(tmp_path), {})
    assert failed.value.text.startswith("Failed to load model: ")
    assert failed.value.text.endswith("(Error code: 0)")
    assert failed.match(says)


# --------------------------------------------------------------------------------------------------------- tensorflow


@pytest.mark.parametrize(
    ("instances", "names", "columns"),
    [
        ([1, 2], ["x"], {"x": [1, 2]}),
        ([{"x": 1}, 2, {"x": [3]}], ["x"], {"x": [1, 2, [3]]}),
        ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], ["a", "b"], {"a": [1, 3], "b": [2, 4]}),
    ],
)
def test_instances_become_columns(instances: Any, names: list[str], columns: Any) -> None:
    assert saved_models.columnarize(instances, names) == columns


@pytest.mark.parametrize(
    ("instances", "names", "says"),
    [
        ([{"y": 1}], ["x"], r"Expected tensor name: x, got tensor name: \['y'\]"),
        ([{"x": 1, "y": 1}], ["x"], r"Expected tensor name: x, got tensor name: \['x', 'y'\]"),
        ([{"a": 1, "c": 2}], ["a", "b"], "Unexpected tensor name: c"),
        ([{"a": 1, "b": 2}, {"a": 1}], ["a", "b"], "Input b was missing in at least one input instance"),
        ([5], ["a", "b"], "must be an object with the inputs a, b"),
    ],
)
def test_instances_that_do_not_fit_a_signature_are_told_so(instances: Any, names: list[str], says: str) -> None:
    with pytest.raises(Failed, match=says) as failed:
        saved_models.columnarize(instances, names)
    assert failed.value.text.endswith("(Error code: 1)")


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"y": np.array([1, 2])}, [{"y": 1}, {"y": 2}]),
        ({"y": np.array([[1.5], [2.0]]), "z": np.array([1, 0])}, [{"y": [1.5], "z": 1}, {"y": [2.0], "z": 0}]),
        ({"y": np.float32(5)}, [{"y": 5.0}]),
        ({"y": np.array([b"ab", b"\xc3\xa9"], dtype=object)}, [{"y": "ab"}, {"y": "é"}]),
        ({"y_bytes": np.array([[b"\xff", b"a"]], dtype=object)}, [{"y_bytes": [{"b64": "/w=="}, {"b64": "YQ=="}]}]),
    ],
)
def test_outputs_become_one_object_an_instance(columns: Any, rows: Any) -> None:
    assert saved_models.rowify(columns) == rows


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"y": np.array([1, 2]), "z": np.array([1])}, "differing sizes in the batch"),
        ({"y": np.array([b"\xff"], dtype=object)}, "no text: give its name the ending _bytes"),
    ],
)
def test_outputs_that_cannot_be_written_are_told_so(columns: Any, says: str) -> None:
    with pytest.raises(Failed, match=says) as failed:
        saved_models.rowify(columns)
    assert failed.value.text.endswith("(Error code: 3)")


# ------------------------------------------------------------------------------------------------------------- custom

ROUTINE = """
class Routine:
    def __init__(self, factor):
        self.factor = factor

    def predict(self, instances, **kwargs):
        return [instance * self.factor + kwargs.get("plus", 0) for instance in instances]

    @classmethod
    def from_path(cls, model_dir):
        with open(model_dir + "/factor.txt") as file:
            return cls(int(file.read()))
"""
BARE = "class Routine:\n    @classmethod\n    def from_path(cls, model_dir):\n        return cls()\n"


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Model]]:
    """Loads a routine `mine.routine.Routine` with this source, as a model process would."""
    model, code = tmp_path / "model", tmp_path / "packages"
    model.mkdir()
    code.mkdir()
    (model / "factor.txt").write_text("3")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept = set(sys.modules)

    def load(source: str, name: str = "mine.routine.Routine") -> tuple[str, Model]:
        source_archive(
            code / "000-mine-0.1.tar.gz", {"setup.py": "", "mine/__init__.py": "", "mine/routine.py": source}
        )
        return load_model("CUSTOM", str(model), {"prediction_class": name, "packages": str(code)})

    yield load  # type: ignore[misc]
    for name in set(sys.modules) - kept:
        del sys.modules[name]


Custom = Callable[..., tuple[str, Model]]


def test_a_routine_predicts_with_its_files_and_the_fields_of_the_request(custom: Custom) -> None:
    framework, model = custom(ROUTINE)
    assert framework == "CUSTOM"
    assert predictions(model, [1, 2]) == [3, 6]
    assert predictions(model, [1, 2], plus=10, signature_name="x") == [13, 16]


@pytest.mark.parametrize(
    ("returned", "written"),
    [
        ("{'error': 'no'}", {"error": "no"}),
        ("5", 5),
        ("None", None),
        ("(i for i in instances)", [1, "text"]),
        ("__import__('numpy').array([[1, 2]])", [[1, 2]]),
        ("{'a': b'text', 'b': [bytearray(b'\\xff')]}", {"a": {"b64": "dGV4dA=="}, "b": [{"b64": "/w=="}]}),
        ("[type(i).__name__ for i in instances]", ["int", "str"]),
        ("float('nan')", None),
    ],
)
def test_whatever_a_routine_returns_is_written(custom: Custom, returned: str, written: Any) -> None:
    model = custom(f"{BARE}    def predict(self, instances, **kwargs):\n        return {returned}\n")[1]
    assert predictions(model, [1, "text"]) == written


def test_bytes_go_in_and_out_as_base64(custom: Custom) -> None:
    model = custom(
        f"{BARE}    def predict(self, instances, **kwargs):\n        return [i['image'] * 2 for i in instances]"
    )[1]
    assert predictions(model, [{"image": {"b64": "/w=="}}]) == [{"b64": "//8="}]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Routine: pass", "Routine has no method predict"),
        ("class Routine:\n def predict(self, instances): pass", "must have a class method from_path"),
        (
            f"{BARE}    def predict(self): pass",
            r"Routine.predict\(self, instances, \*\*kwargs\) is wanted, and what is",
        ),
        (f"{BARE}    def predict(self, instances, limit): pass", "missing a required argument: 'limit'"),
        (f"{BARE.replace('(cls, model_dir)', '(cls)')}    def predict(self, instances): pass", "too many positional"),
        (f"{BARE}    predict = 5", "has no method predict"),
        ("x = 1", "mine.routine.Routine cannot be found: predictionClass must be the full name"),
        ("import nowhere_at_all", "needs the module 'nowhere_at_all', which neither packageUris nor"),
        ("raise RuntimeError('early')", "the module mine.routine cannot be imported: RuntimeError: early"),
        ("raise SystemExit(3)", "the module mine.routine cannot be imported: SystemExit: 3"),
        (ROUTINE.replace("factor.txt", "other.txt"), "Routine.from_path raised FileNotFoundError"),
        ("this is no python", "cannot be imported: SyntaxError"),
    ],
)
def test_code_that_is_no_routine_is_told_so(custom: Custom, source: str, says: str) -> None:
    with pytest.raises(Failed, match=says) as failed:
        custom(source)
    assert failed.value.text.startswith("There was a problem processing the user code: ")
    assert failed.value.text.endswith("(Error code: 4)")


@pytest.mark.parametrize("name", ["Routine", "mine.Routine", "mine.other.Routine", "other.routine.Routine", "json.no"])
def test_a_class_that_is_not_there_is_told_so(custom: Custom, name: str) -> None:
    with pytest.raises(Failed, match="cannot be found: predictionClass must be the full name of a class"):
        custom(ROUTINE, name)


@pytest.mark.parametrize(
    ("source", "fields", "says"),
    [
        (
            "raise KeyError('x')",
            {},
            "Failed to run the provided model: Exception during custom prediction: KeyError: 'x'",
        ),
        ("raise SystemExit", {}, "Failed to run the provided model: Exception during custom prediction: SystemExit"),
        ("raise MemoryError", {}, "Failed to run the provided model: the model ran out of memory"),
        ("return object()", {}, "There was a problem processing the outputs: "),
        ("return 1", {"more": 1}, "Failed to run the provided model: Exception during custom prediction: TypeError"),
    ],
)
def test_a_routine_that_fails_is_an_answer(custom: Custom, source: str, fields: Any, says: str) -> None:
    model = custom(f"{BARE}    def predict(self, instances):\n        {source}\n")[1]
    assert failure(model, [1], **fields).startswith(says)


PROCESSOR = """
class Routine:
    def preprocess(self, instances, **kwargs):
        return [[instance["length"] * kwargs.get("scale", 1), 3, 5, 2] for instance in instances]

    def postprocess(self, instances, **kwargs):
        return [["setosa", "versicolor", "virginica"][label] for label in instances.tolist()]
"""


def test_the_older_form_wraps_the_model_of_the_files(custom: Custom, tmp_path: Path) -> None:
    joblib.dump(iris(), tmp_path / "model" / "model.joblib")
    model = custom(PROCESSOR)[1]
    label = iris().predict([[5.1, 3, 5, 2]])[0]
    assert predictions(model, [{"length": 5.1}]) == [["setosa", "versicolor", "virginica"][label]]
    assert predictions(model, [{"length": 0.51}], scale=10, signature_name="any") == predictions(
        model, [{"length": 5.1}]
    )
    assert failure(model, [{}]).startswith("Invalid inputs: Exception during preprocessing: KeyError: 'length'")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            PROCESSOR.replace("preprocess(self, instances, **kwargs)", "preprocess(self)"),
            r"Routine.preprocess\(self, ins",
        ),
        (PROCESSOR + "    def __init__(self, path): pass\n", r"Routine\(\) is wanted"),
        (PROCESSOR, "neither model.joblib nor model.pkl"),
    ],
)
def test_a_processor_that_cannot_be_used_is_told_so(custom: Custom, source: str, says: str) -> None:
    with pytest.raises(Failed, match=says):
        custom(source)


# ------------------------------------------------------------------------------------------- in processes of their own


def test_a_framework_is_found_out_in_the_process_and_remembered(supervisor: ModelSupervisor, tmp_path: Path) -> None:
    folder = Path(supervisor.run_dir).parent / "boosted"
    folder.mkdir()
    pickled_wrapper(folder, classifier())
    unknown = ModelSpec("boosted", str(folder), "", sys.executable)
    assert supervisor.load(unknown) == "XGBOOST"
    known = ModelSpec("boosted", str(folder), "XGBOOST", sys.executable)
    bodies = [json.dumps({"instances": [row]}).encode() for row in ROWS.tolist()]

    async def body(host: SocketModelHost) -> list[Any]:
        import asyncio

        answers = await asyncio.gather(*(host.predict(known, one, 30) for one in bodies * 10))
        return [json.loads(one.body)["predictions"][0] for one in answers]

    (before,) = [row["pid"] for row in supervisor.running() if row["uid"] == "boosted"]
    assert run(supervisor, body) == probabilities(classifier(), ROWS) * 10
    assert [row["pid"] for row in supervisor.running() if row["uid"] == "boosted"] == [before]


def test_a_model_process_cannot_invent_a_framework(supervisor: ModelSupervisor) -> None:
    source = """
import json, os, sys, time
os.write(json.loads(sys.argv[1])["status"], b'{"ok": true, "framework": "<b>anything</b>"}\\n')
time.sleep(3600)
"""
    folder = Path(supervisor.run_dir).parent / "inventive"
    folder.mkdir()
    joblib.dump(Written(source), folder / "model.joblib")
    assert supervisor.load(ModelSpec("inventive", str(folder), "", sys.executable)) == ""
    supervisor.unload("inventive")


def test_code_of_the_users_own_serves_pickles_in_the_sandbox(supervisor: ModelSupervisor) -> None:
    """scikit-learn pipelines with custom code: packages without a predictionClass."""
    folder = Path(supervisor.run_dir).parent / "pipeline"
    code = folder.with_name("pipeline-code")
    folder.mkdir()
    code.mkdir()
    wheel(
        code / "000-steps-1-py3-none-any.whl",
        {"steps.py": "from sklearn.base import BaseEstimator\nclass Twice(BaseEstimator):\n"
                     "    def fit(self, x, y=None): return self\n    def transform(self, x): return x * 2\n"},
    )  # fmt: skip
    maker = (
        "from steps import Twice\nfrom sklearn.pipeline import make_pipeline\n"
        "import numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
        "model = make_pipeline(Twice(), LinearRegression()).fit(np.array([[1], [2]]), [1, 2])\n"
    )
    joblib.dump(Written(maker), folder / "model.joblib")
    with pytest.raises(FailedPrecondition, match=r"needs the module 'steps'.* give it in packageUris"):
        supervisor.load(ModelSpec("pipeline", str(folder), "SCIKIT_LEARN", sys.executable))
    spec = ModelSpec("pipeline", str(folder), "SCIKIT_LEARN", sys.executable, options={"packages": str(code)})
    assert supervisor.load(spec) == "SCIKIT_LEARN"

    async def body(host: SocketModelHost) -> Any:
        return json.loads((await host.predict(spec, b'{"instances": [[5]]}', 30)).body)["predictions"]

    assert run(supervisor, body) == [pytest.approx(5.0)]
