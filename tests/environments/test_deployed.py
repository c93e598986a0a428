"""A model of an older scikit-learn, deployed and predicted on a live server in the environment that can read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import OWNER, PROJECT, Server, mlgate
from tests.http.people import Api, error_of

P = f"/v1/projects/{PROJECT}"
#: The one whose Python the tests run on: nothing but packages has to be there.
OLDER, OLDER_PYTHON = "2.12", "3.11"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 5.6, 2.4]]
_FIT = """
import sys, joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
joblib.dump(RandomForestClassifier(5, random_state=1).fit(*load_iris(return_X_y=True)), sys.argv[1])
"""
#: Unpickles, in the model's process, to a model whose predictions tell what it sees.
_SPY = """
import os, sys, joblib
SOURCE = '''
import os, sklearn
def sees(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else len(open(path, "rb").read(1))
    except OSError as error:
        return type(error).__name__
class Model:
    def predict(self, paths):
        return [[sklearn.__version__, sees(path)] for path in paths]
    def writes(self): pass
Model.__module__ = "sklearn.tests"
model = Model()
'''
class Written:
    def __reduce__(self):
        return eval, (f"(lambda names: exec({SOURCE!r}, names) or names['model'])({{}})",)
joblib.dump(Written(), sys.argv[1])
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose data directory has the older environment, built by the command line."""
    server = Server(tmp_path_factory.mktemp("older") / "data").initialize()
    data_dir = ("--data-dir", str(server.data_dir))
    words = ("runtimes", "build", OLDER, "--framework", "scikit-learn", *data_dir, "--format", "json")
    built = mlgate(*words)
    assert [row["state"] for row in json.loads(built.stdout)] == ["BUILT"]
    assert "built 2.12-" in built.stderr
    server.start()
    yield server
    server.close()
    shutil.rmtree(server.data_dir / "runtimes")  # pytest keeps what tests leave, and this is large


@pytest.fixture(scope="module")
def api(older: Server) -> Iterator[Api]:
    with Api(older) as api:
        api.done(OWNER, "POST", f"/storage/v1/b?project={PROJECT}", {"name": "older-models"})
        yield api


def python_of(server: Server) -> Path:
    return next((server.data_dir / "runtimes").glob(f"{OLDER}-*/bin/python"))


def saved(api: Api, name: str, script: str, folder: Path) -> str:
    """The gs:// directory of a model that the older environment's Python wrote."""
    subprocess.run([python_of(api.server), "-I", "-W", "ignore", "-c", script, folder / "model.joblib"], check=True)
    params = {"uploadType": "media", "name": f"{name}/model.joblib"}
    path = "/upload/storage/v1/b/older-models/o"
    api(OWNER, "POST", path, params=params, content=(folder / "model.joblib").read_bytes()).raise_for_status()
    api.done(OWNER, "POST", f"{P}/models", {"name": name})
    return f"gs://older-models/{name}"


def deployed(api: Api, model: str, name: str, uri: str, runtime_version: str, python_version: str) -> dict[str, str]:
    """The version, when its deployment has ended."""
    body = {"name": name, "deploymentUri": uri, "runtimeVersion": runtime_version, "pythonVersion": python_version}
    operation = api.done(OWNER, "POST", f"{P}/models/{model}/versions", body)
    while not operation.get("done"):
        operation = api.done(OWNER, "GET", f"/v1/{operation['name']}")
    version: dict[str, str] = api.done(OWNER, "GET", f"{P}/models/{model}/versions/{name}")
    return version


def test_a_forest_of_an_older_scikit_learn_predicts_where_its_runtime_is_named(api: Api, tmp_path: Path) -> None:
    uri = saved(api, "forest", _FIT, tmp_path)
    version = deployed(api, "forest", "v1", uri, OLDER, OLDER_PYTHON)
    assert version["state"] == "READY", version
    assert api.done(OWNER, "POST", f"{P}/models/forest:predict", {"instances": ROWS}) == {"predictions": [0, 2]}
    log = api.server.log()
    assert f'"environment": "{OLDER}"' in log

    failed = deployed(api, "forest", "v2", uri, "2.11", "3.7")
    assert failed["state"] == "FAILED"
    assert "scikit-learn 1.2.2" in failed["errorMessage"]
    assert "runtimeVersion 2.11 with pythonVersion 3.7 is the old service's" in failed["errorMessage"]

    api.server.restart()
    assert api.done(OWNER, "POST", f"{P}/models/forest:predict", {"instances": ROWS}) == {"predictions": [0, 2]}


def test_a_model_sees_its_environment_and_nothing_else_of_the_data_directory(api: Api, tmp_path: Path) -> None:
    data, python = api.server.data_dir, python_of(api.server)
    another = data / "runtimes" / "3.0-another"
    another.mkdir()
    (another / "file").write_text("x")
    uri = saved(api, "spy", _SPY, tmp_path)
    version = deployed(api, "spy", "v1", uri, OLDER, OLDER_PYTHON)
    assert version["state"] == "READY", version
    secret = [data / "mlgate.db", data / "lock", another / "file", data / "runtimes" / ".cache", data / "server.log"]
    asked = [str(path) for path in (python.parent.parent / "pyvenv.cfg", *secret)]
    seen = api.done(OWNER, "POST", f"{P}/models/spy:predict", {"instances": asked})["predictions"]
    assert seen[0] == ["1.2.2", 1]
    assert {what for _, what in seen[1:]} <= {"FileNotFoundError", "PermissionError"}, seen


def test_a_runtime_that_there_is_not_is_refused_with_what_there_is(api: Api) -> None:
    api.done(OWNER, "POST", f"{P}/models", {"name": "none"})
    body = {"name": "v", "deploymentUri": "gs://older-models/x", "runtimeVersion": "4.0", "pythonVersion": "3.11"}
    error = error_of(api(OWNER, "POST", f"{P}/models/none/versions", body))
    assert error["status"] == "INVALID_ARGUMENT"
    assert 'There is no runtimeVersion "4.0". There are 3.0 with 3.11' in error["message"]


def test_the_command_line_lists_and_describes_what_there_is(older: Server) -> None:
    data_dir = ("--data-dir", str(older.data_dir))
    listed = mlgate("runtimes", "list", *data_dir, "--format", "json")
    states = {row["name"]: row["state"] for row in json.loads(listed.stdout)}
    assert states[OLDER] == "BUILT"
    assert states["3.0-tensorflow"] == "NOT_BUILT"
    assert "SCIKIT_LEARN: runtimeVersion 2.11 with pythonVersion 3.7 is the old service's" in listed.stderr
    words = ("runtimes", "describe", "1.15", "--framework", "scikit-learn", *data_dir, "--format", "json")
    [told] = json.loads(mlgate(*words).stdout)
    assert "the server's own Python" in told["note"]
    assert told["environment"]["packages"]["scikit-learn"] == "1.0.2"
    refused = mlgate("runtimes", "build", "7.7", *data_dir, check=False)
    assert refused.returncode == 1
    assert 'There is no runtimeVersion "7.7".' in refused.stderr
