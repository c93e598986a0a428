"""A small model in a bucket of a project of its own, deployed through the API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import joblib
from sklearn.linear_model import LinearRegression

from tests.harness import OWNER
from tests.http.people import Api

RUNTIME = {"runtimeVersion": "2.11", "pythonVersion": "3.7"}


def linear() -> LinearRegression:
    """1 + 2 a + 3 b."""
    return LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [1.0, 3.0, 4.0])


def put(api: Api, bucket: str, name: str, data: bytes) -> None:
    headers = {"Authorization": f"Bearer {api.bearers[OWNER]}"}
    where = {"uploadType": "media", "name": name}
    stored = api.client.post(f"/upload/storage/v1/b/{bucket}/o", params=where, content=data, headers=headers)
    assert stored.is_success, stored.text


def new_bucket(api: Api, project: str, bucket: str) -> None:
    api.done(OWNER, "POST", "/storage/v1/b", {"name": bucket}, params={"project": project})


def share(api: Api, path: str, role: str, *members: str) -> None:
    """One more binding of a policy."""
    http = "GET" if path.count("/") > 3 else "POST"
    policy = api.done(OWNER, http, f"{path}:getIamPolicy" if not path.startswith("/storage") else f"{path}/iam")
    policy.setdefault("bindings", []).append({"role": role, "members": list(members)})
    if path.startswith("/storage"):
        api.done(OWNER, "PUT", f"{path}/iam", policy)
    else:
        api.done(OWNER, "POST", f"{path}:setIamPolicy", {"policy": policy})


def upload(api: Api, folder: Path, bucket: str, path: str, model: Any) -> str:
    """The address of the directory that holds the model."""
    joblib.dump(model, folder / "model.joblib")
    put(api, bucket, f"{path}/model.joblib", (folder / "model.joblib").read_bytes())
    return f"gs://{bucket}/{path}"


def deploy(api: Api, model_path: str, version: str, uri: str, **fields: Any) -> dict[str, Any]:
    """The operation at its end."""
    body = {"name": version, "deploymentUri": uri, **RUNTIME, **fields}
    operation = api.done(OWNER, "POST", f"{model_path}/versions", body)
    until = time.monotonic() + 120
    while not operation.get("done"):
        assert time.monotonic() < until, operation
        time.sleep(0.1)
        operation = api.done(OWNER, "GET", f"/v1/{operation['name']}")
    return dict(operation)


def eventually(look: Any, wanted: Any = bool) -> Any:
    """What `look` gives as soon as `wanted` likes it; the last of it after a minute and a half."""
    until = time.monotonic() + 90
    while not wanted(found := look()) and time.monotonic() < until:
        time.sleep(0.1)
    return found
