"""Sharing and taking back, as a story over HTTP: the T-cases of the requirements that are more than a yes or a no."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import yaml

from mlgate.core import lro
from mlgate.core.iam.policy import Binding, Policy
from mlgate.ports import Record
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing

BOB, DEV, EVE = "user:bob@example.com", "user:dev@example.com", "user:eve@example.com"
P = "/v1/projects/sharing-project"
USER = "roles/ml.modelUser"

pytestmark = pytest.mark.xdist_group("sharing")


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([OWNER, BOB, DEV, EVE])
        made.new_project("sharing-project")
        assert made.bind(P, {"roles/ml.developer": [DEV, EVE], "roles/ml.admin": ["user:ann@example.com"]}).is_success
        yield made


def new_model(api: Api, name: str, by: str = OWNER) -> str:
    api.done(by, "POST", f"{P}/models", {"name": name})
    return f"{P}/models/{name}"


# T-14


def test_no_call_is_allowed_after_the_revocation_was_acknowledged(make_server: Callable[..., Server]) -> None:
    """T-14, with two API processes and callers that never stop."""
    with Api(make_server(workers=2)) as api:
        path = api.new_project("sharing-project") + "/models/m"
        api.done(OWNER, "POST", f"{P}/models", {"name": "m"})
        api.sign_in([BOB])
        answers: list[tuple[float, float, int]] = []  # sent, answered, status
        stop = threading.Event()

        def call() -> None:
            with Api(api.server) as mine:
                mine.bearers = api.bearers
                while not stop.is_set():
                    began = time.monotonic()
                    status = mine(BOB, "GET", path).status_code
                    answers.append((began, time.monotonic(), status))

        callers = [threading.Thread(target=call, daemon=True) for _ in range(3)]
        for caller in callers:
            caller.start()
        periods = []
        for _ in range(25):
            began = time.monotonic()
            assert api.bind(path, {USER: [BOB]}).is_success
            granted = time.monotonic()
            while not any(status == 200 and sent > granted for sent, _, status in answers[-50:]):
                assert time.monotonic() - granted < 10
            assert api.bind(path, {USER: [EVE]}).is_success
            revoked = time.monotonic()
            periods.append((began, granted, revoked))
            while not any(sent > revoked for sent, _, _ in answers[-50:]):
                assert time.monotonic() - revoked < 10
        stop.set()
        for caller in callers:
            caller.join()
    assert {status for _, _, status in answers} == {200, 403}
    closed = [(end, following) for (_, _, end), (following, _, _) in pairwise(periods)]
    # A call that is still under way when the next grant begins may be answered by that grant.
    late = [
        sent
        for sent, answered, status in answers
        if status == 200 and any(end < sent and answered < following for end, following in closed)
    ]
    assert not late


# T-15, T-17, T-18


def test_what_is_not_shared_answers_the_same_whether_it_exists_or_not(api: Api) -> None:
    """T-17: word for word, but for the name that was asked for."""
    new_model(api, "shared")
    new_model(api, "secret1")
    api.bind(f"{P}/models/shared", {USER: [BOB]})
    for http, verb in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", ":predict"),
        ("GET", ":getIamPolicy"),
        ("GET", "/versions"),
    ):
        there = api(BOB, http, f"{P}/models/secret1{verb}")
        gone = api(BOB, http, f"{P}/models/secret2{verb}")
        assert there.status_code == gone.status_code == 403
        assert there.text.replace("secret1", "secret2") == gone.text
        assert {*there.headers} == {*gone.headers}


def test_the_policy_file_of_the_sharing_guide_is_accepted(api: Api) -> None:
    """T-18: the guide's file has a comma too many (C-15). The API takes strict JSON; the file's reader takes YAML."""
    path = new_model(api, "guide", by=DEV)
    etag = api.done(DEV, "GET", f"{path}:getIamPolicy")["etag"]
    text = f"""{{
      "bindings": [
        {{"members": ["{DEV}"], "role": "roles/ml.modelOwner"}},
        {{
          "members": ["{BOB}", "serviceAccount:my-other-app@appspot.gserviceaccount.com"],
          "role": "roles/ml.modelUser"
        }}
      ],
      "etag": "{etag}",
    }}"""
    headers = {"Authorization": f"Bearer {api.bearers[DEV]}"}
    strict = api.client.post(f"{path}:setIamPolicy", content=f'{{"policy": {text}}}', headers=headers)
    assert (strict.status_code, error_of(strict)["status"]) == (400, "INVALID_ARGUMENT")
    stored = api.done(DEV, "POST", f"{path}:setIamPolicy", {"policy": yaml.safe_load(text)})
    assert [b["role"] for b in stored["bindings"]] == ["roles/ml.modelOwner", USER]
    assert stored["etag"] != etag
    assert api.done(BOB, "GET", path)["name"] == path.removeprefix("/v1/")


def test_the_creator_of_a_model_owns_it_by_an_ordinary_binding(api: Api) -> None:
    """R-030, R-034, R-035; the owner of a model that a service account creates is that account."""
    path = new_model(api, "owned", by=DEV)
    assert api.done(DEV, "GET", f"{path}:getIamPolicy")["bindings"] == [
        {"role": "roles/ml.modelOwner", "members": [DEV]}
    ]
    email = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "creator-one"})["email"]
    account = f"serviceAccount:{email}"
    assert api.bind(P, {"roles/ml.developer": [DEV, EVE, account]}).is_success
    path = new_model(api, "by_account", by=account)
    assert api.done(OWNER, "GET", f"{path}:getIamPolicy")["bindings"][0]["members"] == [account]


def test_everyone_owns_the_operations_that_they_cause(api: Api) -> None:
    """R-032, R-033: the owner of a model who has no role on the project sees their own operation, and only that."""
    path = new_model(api, "operated")
    assert api.bind(path, {"roles/ml.modelOwner": [BOB, DEV]}).is_success
    mask = {"updateMask": "description"}
    operation = api.done(BOB, "PATCH", path, {"description": "x"}, params=mask)["name"]
    assert api.done(BOB, "GET", f"/v1/{operation}")["done"] is True
    assert api.done(BOB, "POST", f"/v1/{operation}:cancel") == {}
    assert api.done(DEV, "GET", f"/v1/{operation}")["done"] is True
    assert api(DEV, "POST", f"/v1/{operation}:cancel").status_code == 403
    assert api(BOB, "DELETE", f"/v1/{operation}").status_code == 403
    assert api(BOB, "GET", f"{P}/operations").status_code == 403
    deleted = api.done(BOB, "DELETE", path)
    assert deleted["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert api.done(BOB, "GET", f"/v1/{deleted['name']}")["done"] is True


# T-21


def test_acting_as_an_account_needs_the_right_to(api: Api) -> None:
    """T-21, R-093: for training jobs and for versions; the same answer for an account that does not exist."""
    path = new_model(api, "acting", by=DEV)
    account = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "runs-code"})
    version = {"name": "v", "deploymentUri": "gs://some-bucket/x", "runtimeVersion": "2.11", "pythonVersion": "3.7"}
    calls = (
        (f"{P}/jobs", lambda email: {"jobId": "j", "trainingInput": {"region": "r", "serviceAccount": email}}, 400),
        (f"{path}/versions", lambda email: {**version, "serviceAccount": email}, 400),
    )
    missing = "no-such-one@sharing-project.iam.gserviceaccount.com"
    for url, body, allowed in calls:
        for email in (
            account["email"],
            account["email"].upper(),
            missing,
            "x@elsewhere.iam.gserviceaccount.com",
            "../../x",
        ):
            response = api(DEV, "POST", url, body(email))
            assert response.status_code == 403, (url, email)
            assert "iam.serviceAccounts.actAs" in error_of(response)["message"]
        assert api.bind(f"/v1/{account['name']}", {"roles/iam.serviceAccountUser": [DEV]}).is_success
        assert api(DEV, "POST", url, body(account["email"])).status_code == allowed
        assert api(DEV, "POST", url, body(missing)).status_code == 403
        assert api.bind(f"/v1/{account['name']}", {}).is_success


# T-23


def test_only_done_operations_can_be_forgotten(api: Api) -> None:
    """T-23. A running operation is made in the store: those of this issue that run long need a bucket."""
    name = "projects/sharing-project/operations/create_version_1"
    now = datetime.now(UTC)
    body = lro.running(name, "CREATE_VERSION", "projects/sharing-project/models/m", now)
    with writing(api.server) as tx:
        tx.insert(Record(name, "operation", "projects/sharing-project", "1", body, now))
        tx.set_policy(name, Policy((Binding("roles/ml.operationOwner", (BOB,)),)))
    refused = api(OWNER, "DELETE", f"/v1/{name}")
    assert (refused.status_code, error_of(refused)["status"]) == (400, "FAILED_PRECONDITION")
    assert api.done(BOB, "POST", f"/v1/{name}:cancel") == {}
    assert api.done(BOB, "GET", f"/v1/{name}")["metadata"]["isCancellationRequested"] is True
    with writing(api.server) as tx:
        record = tx.get(name)
        assert record is not None
        record.body = lro.succeeded(record.body, now)
        tx.update(record)
    assert api("user:ann@example.com", "DELETE", f"/v1/{name}").status_code == 403
    assert api.done(OWNER, "DELETE", f"/v1/{name}") == {}
    assert api(OWNER, "GET", f"/v1/{name}").status_code == 404
    assert api(BOB, "GET", f"/v1/{name}").status_code == 403


# T-24, T-25


def test_a_model_made_again_has_none_of_the_old_bindings(api: Api) -> None:
    """T-24."""
    path = new_model(api, "again", by=DEV)
    assert api.bind(path, {"roles/ml.modelOwner": [DEV], USER: [BOB]}, by=DEV).is_success
    operation = api.done(DEV, "DELETE", path)["name"]
    assert api(BOB, "GET", path).status_code == 403
    new_model(api, "again", by=EVE)
    assert api.done(EVE, "GET", f"{path}:getIamPolicy")["bindings"] == [
        {"role": "roles/ml.modelOwner", "members": [EVE]}
    ]
    assert api(BOB, "GET", path).status_code == 403
    assert api(DEV, "POST", f"{path}:setIamPolicy").status_code == 403
    assert api(DEV, "GET", f"/v1/{operation}").status_code == 200


def test_an_account_made_again_has_none_of_the_old_bindings(api: Api) -> None:
    """T-25, for service accounts: `user:` principals have no record on this server."""
    path = new_model(api, "for_account")
    old = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "phoenix"})
    member, where = f"serviceAccount:{old['email']}", f"{P}/serviceAccounts/{old['email']}"
    bound = [{"role": USER, "members": [member]}]
    etag = api.done(OWNER, "POST", f"{path}:setIamPolicy", {"policy": {"bindings": bound}})["etag"]
    api.done(member, "GET", path)
    api.done(OWNER, "DELETE", where)
    assert api(member, "GET", path).status_code == 401
    deleted = [f"deleted:{member}?uid={old['uniqueId']}"]
    policy = api.done(OWNER, "GET", f"{path}:getIamPolicy")
    assert [b["members"] for b in policy["bindings"]] == [deleted]
    assert policy["etag"] != etag
    stale = api(OWNER, "POST", f"{path}:setIamPolicy", {"policy": {"bindings": bound}})
    assert "does not exist" in error_of(stale)["message"]

    new = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": "phoenix"})
    assert new["uniqueId"] != old["uniqueId"]
    old_bearer = api.bearers.pop(member)
    assert api(member, "GET", path).status_code == 403
    headers = {"Authorization": f"Bearer {old_bearer}"}
    assert api.client.get(path, headers=headers).status_code == 401
    undelete = f"{P}/serviceAccounts/{old['uniqueId']}:undelete"
    assert error_of(api(OWNER, "POST", undelete))["status"] == "FAILED_PRECONDITION"

    api.done(OWNER, "DELETE", where)
    assert api.done(OWNER, "POST", undelete)["restoredAccount"]["uniqueId"] == old["uniqueId"]
    assert api.client.get(path, headers=headers).status_code == 200
    assert api(DEV, "POST", undelete).status_code == 403
    assert api(OWNER, "POST", undelete).status_code == 404


def test_a_deleted_project_answers_only_to_resource_manager(api: Api) -> None:
    path = api.new_project("sharing-fleeting")
    api.done(OWNER, "POST", f"{path}/models", {"name": "m"})
    assert api.bind(path, {"roles/ml.admin": [BOB]}).is_success
    api.done(OWNER, "DELETE", path)
    for who in (OWNER, BOB):
        assert api(who, "GET", f"{path}/models/m").status_code == 403
        assert api.done(who, "GET", path)["lifecycleState"] == "DELETE_REQUESTED"
    assert api(OWNER, "POST", f"{path}/serviceAccounts", {"accountId": "too-late"}).status_code == 403
    assert api(OWNER, "POST", "/v1/projects", {"projectId": "sharing-fleeting"}).status_code == 409
    api.done(OWNER, "POST", f"{path}:undelete")
    assert api.done(BOB, "GET", f"{path}/models/m")["name"]


def test_projects_are_listed_to_those_who_may_see_them(api: Api) -> None:
    assert api.bind(api.new_project("sharing-visible"), {"roles/ml.viewer": [BOB]}).is_success
    seen = [project["projectId"] for project in api.done(BOB, "GET", "/v1/projects").get("projects", [])]
    assert "sharing-visible" in seen
    assert "sharing-project" not in seen
    assert api(BOB, "POST", "/v1/projects", {"projectId": "bobs-own-project"}).status_code == 403
