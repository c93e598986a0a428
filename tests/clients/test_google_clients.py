"""The life of a model with Google's own clients, unmodified: google-api-python-client, and google-auth with the key of
a service account. What they send is the contract (issue 2).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google.auth.transport.requests
import googleapiclient.discovery
import pytest
import requests
from google.auth.exceptions import RefreshError
from google.oauth2 import service_account
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

from tests.harness import OWNER, Server
from tests.http.people import tokens

BOB = "user:bob@example.com"
PROJECT = "clients-project"
PARENT = f"projects/{PROJECT}"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]

pytestmark = pytest.mark.xdist_group("clients")
Build = Callable[..., Any]


@pytest.fixture(scope="module")
def build(server: Server) -> Iterator[Build]:
    """`build(api, principal)`: a client of Google's, with the address of our server."""
    server._tokens.update(tokens(server, {OWNER, BOB} - server._tokens.keys()))
    made = []

    def make(name: str, principal: str = OWNER) -> Any:
        made.append(server.api(name, principal))
        return made[-1]

    project = {"projectId": PROJECT, "name": "Clients", "labels": {"team": "blue"}}
    operation = make("cloudresourcemanager").projects().create(body=project).execute()
    assert operation["done"] is True
    yield make
    for client in made:
        client.close()


def status_of(request: Any) -> int:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.status_code)


def test_the_life_of_a_model(build: Build) -> None:
    models = build("ml").projects().models()
    name = f"{PARENT}/models/life"
    made = models.create(parent=PARENT, body={"name": "life", "description": "one", "labels": {"a": "b"}}).execute()
    assert made["name"] == name
    assert made["regions"] == ["us-central1"]
    assert models.get(name=name).execute() == made
    assert [m["name"] for m in models.list(parent=PARENT, filter="labels.a:b").execute()["models"]] == [name]
    assert status_of(models.create(parent=PARENT, body={"name": "life"})) == 409

    body = {"description": "two", "etag": made["etag"]}
    operation = models.patch(name=name, body=body, updateMask="description").execute()
    assert operation["response"]["description"] == "two"
    assert build("ml").projects().operations().get(name=operation["name"]).execute() == operation
    assert status_of(models.patch(name=name, body=body, updateMask="description")) == 409

    assert build("ml").projects().models().versions().list(parent=name).execute() == {}
    assert status_of(build("ml").projects().predict(name=name, body={"instances": [[1]]})) == 400
    done = models.delete(name=name).execute()
    assert done["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert status_of(models.get(name=name)) == 404
    listed = build("ml").projects().operations().list(name=PARENT, filter="metadata.operationType:DELETE_MODEL")
    assert done["name"] in [o["name"] for o in listed.execute()["operations"]]


def test_pages_are_followed_by_the_clients_own_means(build: Build) -> None:
    models = build("ml").projects().models()
    for n in range(5):
        models.create(parent=PARENT, body={"name": f"page{n}"}).execute()
    request, seen = models.list(parent=PARENT, pageSize=2, filter="name:projects/clients-project/models/page*"), []
    while request is not None:
        answer = request.execute()
        seen += [m["name"][-1] for m in answer["models"]]
        request = models.list_next(request, answer)
    assert seen == list("01234")


def test_sharing_a_model_and_taking_it_back(build: Build) -> None:
    models, his = build("ml").projects().models(), build("ml", BOB).projects().models()
    name = f"{PARENT}/models/shared"
    models.create(parent=PARENT, body={"name": "shared"}).execute()
    assert status_of(his.get(name=name)) == 403
    policy = models.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
    policy["bindings"].append({"role": "roles/ml.modelUser", "members": [BOB]})
    stored = models.setIamPolicy(resource=name, body={"policy": policy}).execute()
    assert stored["bindings"] == policy["bindings"]
    assert his.get(name=name).execute()["name"] == name
    asked = {"permissions": ["ml.models.predict", "ml.models.update"]}
    assert his.testIamPermissions(resource=name, body=asked).execute() == {"permissions": ["ml.models.predict"]}
    assert status_of(models.setIamPolicy(resource=name, body={"policy": policy})) == 409
    stored["bindings"] = stored["bindings"][:1]
    models.setIamPolicy(resource=name, body={"policy": stored}).execute()
    assert status_of(his.get(name=name)) == 403


def test_projects_and_their_policies(build: Build) -> None:
    projects = build("cloudresourcemanager").projects()
    assert projects.get(projectId=PROJECT).execute()["labels"] == {"team": "blue"}
    assert PROJECT in [p["projectId"] for p in projects.list(filter="labels.team:blue").execute()["projects"]]
    policy = projects.getIamPolicy(resource=PROJECT, body={"options": {"requestedPolicyVersion": 3}}).execute()
    policy["bindings"].append({"role": "roles/ml.viewer", "members": [BOB]})
    projects.setIamPolicy(resource=PROJECT, body={"policy": policy, "updateMask": "bindings,etag"}).execute()
    asked = {"permissions": ["ml.models.list", "ml.models.create"]}
    his = build("cloudresourcemanager", BOB).projects()
    assert his.testIamPermissions(resource=PROJECT, body=asked).execute() == {"permissions": ["ml.models.list"]}
    assert status_of(his.setIamPolicy(resource=PROJECT, body={"policy": policy})) == 403
    number = projects.get(projectId=PROJECT).execute()["projectNumber"]
    config = build("ml", BOB).projects().getConfig(name=PARENT).execute()
    assert config["serviceAccountProject"] == number
    assert config["serviceAccount"].startswith(f"service-{number}@")
    locations = build("ml", BOB).projects().locations()
    listed = locations.list(parent=PARENT).execute()["locations"]
    assert locations.get(name=listed[0]["name"]).execute() == listed[0]


def test_a_service_account_signs_in_with_its_key(build: Build, server: Server) -> None:
    accounts, models = build("iam").projects().serviceAccounts(), build("ml").projects().models()
    body = {"accountId": "batch-scorer", "serviceAccount": {"displayName": "Scores at night"}}
    account = accounts.create(name=PARENT, body=body).execute()
    key = accounts.keys().create(name=account["name"], body={}).execute()
    info = json.loads(base64.b64decode(key["privateKeyData"]))
    credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    name = f"{PARENT}/models/for_scorer"
    models.create(parent=PARENT, body={"name": "for_scorer"}).execute()
    binding = {"role": "roles/ml.modelUser", "members": [f"serviceAccount:{account['email']}"]}
    models.setIamPolicy(resource=name, body={"policy": {"bindings": [binding]}}).execute()

    endpoint = {"api_endpoint": server.url}
    with googleapiclient.discovery.build(
        "ml", "v1", credentials=credentials, static_discovery=True, client_options=endpoint
    ) as ml:
        assert ml.projects().models().get(name=name).execute()["name"] == name
        assert status_of(ml.projects().models().list(parent=PARENT)) == 403
        assert credentials.valid
        listed = accounts.keys().list(name=account["name"], keyTypes="USER_MANAGED").execute()["keys"]
        assert [k["name"] for k in listed] == [key["name"]]
        accounts.disable(name=account["name"], body={}).execute()
        with pytest.raises(RefreshError, match="invalid_grant"):  # on the 401 it asks for another token, in vain
            ml.projects().models().get(name=name).execute()
    with requests.Session() as session:
        with pytest.raises(RefreshError, match="invalid_grant"):
            credentials.refresh(google.auth.transport.requests.Request(session))
        accounts.enable(name=account["name"], body={}).execute()
        credentials.refresh(google.auth.transport.requests.Request(session))
        assert credentials.valid
        accounts.keys().delete(name=key["name"]).execute()
        with pytest.raises(RefreshError):
            credentials.refresh(google.auth.transport.requests.Request(session))


def test_roles_and_permissions_are_listed(build: Build) -> None:
    iam = build("iam")
    assert "ml.models.predict" in iam.roles().get(name="roles/ml.modelUser").execute()["includedPermissions"]
    names = [role["name"] for role in iam.roles().list(pageSize=1000, view="BASIC").execute()["roles"]]
    assert {"roles/owner", "roles/ml.modelOwner", "roles/storage.objectViewer"} <= set(names)
    body = {"fullResourceName": f"//ml.googleapis.com/{PARENT}/models/any", "view": "FULL"}
    offered = iam.roles().queryGrantableRoles(body=body).execute()["roles"]
    assert [role["title"] for role in offered] == ["ML Engine Model Owner", "ML Engine Model User"]
    body = {"fullResourceName": f"//cloudresourcemanager.googleapis.com/{PARENT}"}
    assert len(iam.permissions().queryTestablePermissions(body=body).execute()["permissions"]) > 40


def test_many_calls_go_in_one_batch(build: Build, server: Server) -> None:
    ml = build("ml")
    answers: dict[str, Any] = {}

    def note(request_id: str, response: Any, error: Exception | None) -> None:
        answers[request_id] = error.status_code if isinstance(error, HttpError) else response

    batch = BatchHttpRequest(callback=note, batch_uri=f"{server.url}/batch")
    batch.add(ml.projects().models().create(parent=PARENT, body={"name": "batched"}), request_id="made")
    batch.add(ml.projects().models().get(name=f"{PARENT}/models/batched"), request_id="read")
    batch.add(ml.projects().models().get(name=f"{PARENT}/models/none"), request_id="missing")
    batch.execute()
    assert answers["made"]["name"] == answers["read"]["name"] == f"{PARENT}/models/batched"
    assert answers["missing"] == 404


def test_a_client_built_from_our_own_discovery_document(build: Build, server: Server) -> None:
    from google.oauth2.credentials import Credentials

    with googleapiclient.discovery.build(
        "ml", "v1", credentials=Credentials(server.token()), static_discovery=False,
        discoveryServiceUrl=server.url + "/$discovery/rest?version={apiVersion}",
    ) as ml:  # fmt: skip
        assert ml.projects().models().create(parent=PARENT, body={"name": "discovered"}).execute()["etag"]
        operation = ml.projects().models().delete(name=f"{PARENT}/models/discovered").execute()
        assert ml.projects().operations().delete(name=operation["name"]).execute() == {}
        batch = ml.new_batch_http_request()
        batch.add(ml.projects().models().list(parent=PARENT))
        batch.execute()


def test_a_model_is_deployed_shared_and_called(build: Build, server: Server, tmp_path: Path) -> None:
    """The main job: google-cloud-storage for the files, google-api-python-client for the rest."""
    with storage_client(server) as storage:
        bucket = storage.create_bucket("clients-models", project=PROJECT)
        bucket.blob("sum/model.joblib").upload_from_filename(str(fitted(tmp_path / "model.joblib")))
    ml, his = build("ml").projects(), build("ml", BOB).projects()
    name = ml.models().create(parent=PARENT, body={"name": "deployed"}).execute()["name"]
    version = {"name": "v1", "deploymentUri": "gs://clients-models/sum", "runtimeVersion": "2.11"}
    operation = ml.models().versions().create(parent=name, body={**version, "pythonVersion": "3.7"}).execute()
    while not operation.get("done"):
        time.sleep(0.1)  # the worker is another process; its end is seen by asking, as clients do
        operation = ml.operations().get(name=operation["name"]).execute()
    assert "error" not in operation
    assert operation["response"]["state"] == "READY"
    body = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
    for resource in (name, f"{name}/versions/v1"):
        assert [round(y) for y in ml.predict(name=resource, body=body).execute()["predictions"]] == [3, 7]
        assert status_of(his.predict(name=resource, body=body)) == 403
    user = {"role": "roles/ml.modelUser", "members": [BOB]}
    stored = ml.models().setIamPolicy(resource=name, body={"policy": {"bindings": [user]}}).execute()
    assert len(his.predict(name=name, body=body).execute()["predictions"]) == 2
    assert his.models().get(name=name).execute()["defaultVersion"]["isDefault"] is True
    ml.models().setIamPolicy(resource=name, body={"policy": {"etag": stored["etag"]}}).execute()
    assert status_of(his.predict(name=name, body=body)) == 403
    assert status_of(ml.models().delete(name=name)) == 400
    assert ml.models().versions().delete(name=f"{name}/versions/v1").execute()["done"] is True
    assert ml.models().delete(name=name).execute()["done"] is True


def fitted(path: Path) -> Path:
    """A model that adds two numbers."""
    import joblib
    from sklearn.linear_model import LinearRegression

    joblib.dump(LinearRegression().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 2]), path)
    return path


@contextmanager
def storage_client(server: Server) -> Iterator[Any]:
    from google.cloud import storage
    from google.oauth2.credentials import Credentials

    options = {"api_endpoint": server.url}
    client = storage.Client(project=PROJECT, credentials=Credentials(server.token()), client_options=options)
    try:
        yield client
    finally:
        client.close()
