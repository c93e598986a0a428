"""Conditions over HTTP: the versions of a policy, what may be set, and what readers of old see (api.md 2.3)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import OWNER, PROJECT, Server
from tests.http.people import Api, error_of

P = f"/v1/projects/{PROJECT}"
BOB, CARL = "user:bob@example.com", "user:carl@example.com"
USER, OWNS = "roles/ml.modelUser", "roles/ml.modelOwner"
TRUE = {"expression": 'resource.service == "ml.googleapis.com"', "title": "Only models", "description": "no buckets"}


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        yield made


@pytest.fixture
def model(api: Api) -> str:
    name = f"m{uuid.uuid4().hex[:12]}"
    api.done(OWNER, "POST", f"{P}/models", {"name": name})
    return f"{P}/models/{name}"


def binding(role: str, *members: str, condition: Any = None) -> dict[str, Any]:
    return {"role": role, "members": list(members), **({"condition": condition} if condition else {})}


def put(api: Api, path: str, bindings: list[Any], who: str = OWNER, **policy: Any) -> Any:
    return api(who, "POST", f"{path}:setIamPolicy", {"policy": {"version": 3, **policy, "bindings": bindings}})


def read(api: Api, path: str, version: int | None = None) -> Any:
    params = {} if version is None else {"options.requestedPolicyVersion": str(version)}
    return api.done(OWNER, "GET", f"{path}:getIamPolicy", params=params)


OWNED = binding(OWNS, OWNER)


def test_a_policy_with_conditions_is_version_3_and_without_them_1(api: Api, model: str) -> None:
    stored = put(api, model, [OWNED, binding(USER, BOB, condition=TRUE)])
    assert stored.json()["version"] == 3
    assert read(api, model, 3)["bindings"][1]["condition"] == TRUE
    assert put(api, model, [OWNED]).json()["version"] == 1
    assert read(api, model, 3)["version"] == 1


def test_a_reader_of_old_sees_a_role_that_cannot_be_written_back(api: Api, model: str) -> None:
    put(api, model, [OWNED, binding(USER, BOB, condition=TRUE)])
    for version in (None, 0, 1):
        old = read(api, model, version)
        assert old["version"] == 1
        assert re.fullmatch(rf"{USER}_withcond_[0-9a-f]{{20}}", old["bindings"][1]["role"])
        assert "condition" not in old["bindings"][1]
        for given in ({}, {"version": 1}, {"version": 3}):
            answer = api(OWNER, "POST", f"{model}:setIamPolicy", {"policy": {**old, "version": 0} | given})
            assert error_of(answer)["status"] == "INVALID_ARGUMENT"
    assert read(api, model, 3)["bindings"][1]["condition"] == TRUE


@pytest.mark.parametrize("given", [{}, {"version": 0}, {"version": 1}])
def test_conditions_are_not_lost_by_a_writer_who_does_not_know_them(api: Api, model: str, given: Any) -> None:
    put(api, model, [OWNED, binding(USER, BOB, condition=TRUE)])
    for etag in ({}, {"etag": read(api, model)["etag"]}):
        answer = api(OWNER, "POST", f"{model}:setIamPolicy", {"policy": {"bindings": [OWNED], **given, **etag}})
        assert "version 3" in error_of(answer)["message"]
    assert put(api, model, [OWNED]).status_code == 200


@pytest.mark.parametrize("version", [2, 4, -1])
def test_other_versions_are_refused(api: Api, model: str, version: int) -> None:
    params = {"options.requestedPolicyVersion": str(version)}
    assert api(OWNER, "GET", f"{model}:getIamPolicy", params=params).status_code == 400
    assert put(api, model, [OWNED], version=version).status_code == 400


@pytest.mark.parametrize(
    ("bindings", "field", "said"),
    [
        ([binding(USER, BOB, condition={"expression": "true"})], "condition.title", "title"),
        ([binding(USER, BOB, condition={"title": "t"})], "condition.expression", "no expression"),
        ([binding(USER, BOB, condition={"title": "t", "expression": "x"})], "condition.expression", "undeclared"),
        ([binding(USER, "allUsers", condition=TRUE)], "condition", "allUsers"),
        ([binding(USER, "allAuthenticatedUsers", condition=TRUE)], "condition", "allAuthenticatedUsers"),
        (
            [binding(USER, BOB, condition={"title": f"t{n}", "expression": "true"}) for n in range(21)],
            "bindings",
            "20 are allowed",
        ),
    ],
)
def test_a_condition_that_may_not_be_set(api: Api, model: str, bindings: Any, field: str, said: str) -> None:
    error = error_of(put(api, model, [OWNED, *bindings]))
    [violation] = [v for d in error["details"] for v in d.get("fieldViolations", [])]
    assert violation["field"].endswith(field)
    assert said in violation["description"]
    assert "condition" not in str(read(api, model, 3))


def test_a_basic_role_has_no_condition(api: Api) -> None:
    path = api.new_project(f"cond-{uuid.uuid4().hex[:10]}")
    for role in ("roles/owner", "roles/editor", "roles/viewer"):
        bindings = [binding("roles/owner", OWNER), binding(role, BOB, condition=TRUE)]
        assert "basic role" in error_of(put(api, path, bindings))["message"]


def test_a_conditional_owner_does_not_keep_a_project(api: Api) -> None:
    path = api.new_project(f"cond-{uuid.uuid4().hex[:10]}")
    assert put(api, path, [binding("roles/ml.admin", OWNER, condition=TRUE)]).status_code == 400


def test_twenty_conditions_for_one_role_and_member_are_kept_apart(api: Api, model: str) -> None:
    many = [binding(USER, BOB, condition={"title": f"t{n}", "expression": "false"}) for n in range(20)]
    assert len(put(api, model, [OWNED, *many]).json()["bindings"]) == 21
    assert api(BOB, "GET", model).status_code == 403


def test_the_audit_tells_under_which_condition_a_write_was_let_in(api: Api, model: str) -> None:
    limited = {
        "title": "Only users",
        "expression": 'api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", []).hasOnly(["roles/ml.modelUser"])',
    }
    other = {**limited, "title": "Only owners", "expression": limited["expression"].replace("modelUser", "modelOwner")}
    kept = [OWNED, binding(OWNS, CARL, condition=other), binding(OWNS, CARL, condition=limited)]
    assert put(api, model, kept).status_code == 200
    assert put(api, model, [*kept, binding(USER, BOB)], who=CARL).status_code == 200
    from tests.http.people import writing

    with writing(api.server) as tx:
        rows = tx._db.exec_driver_sql(  # type: ignore[attr-defined]  # the audit log has no API yet
            "SELECT because FROM audit_entries WHERE principal = 'user:carl@example.com' ORDER BY id DESC LIMIT 1"
        ).fetchall()
    assert '"title": "Only users"' in rows[0][0]


def test_an_update_of_a_mask_without_bindings_needs_no_version(api: Api) -> None:
    path = api.new_project(f"cond-{uuid.uuid4().hex[:10]}")
    owners = binding("roles/owner", OWNER)
    assert put(api, path, [owners, binding("roles/ml.viewer", BOB, condition=TRUE)]).status_code == 200
    logs = [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]
    body = {"policy": {"auditConfigs": logs}, "updateMask": "auditConfigs"}
    assert api.done(OWNER, "POST", f"{path}:setIamPolicy", body)["bindings"][1]["condition"] == TRUE


def test_a_bucket_has_conditional_bindings_too(api: Api) -> None:
    bucket = f"cond-{uuid.uuid4().hex[:12]}"
    api.done(OWNER, "POST", "/storage/v1/b", {"name": bucket}, params={"project": PROJECT})
    role = "roles/storage.objectViewer"
    condition = {"title": "t", "expression": f'resource.name.startsWith("projects/_/buckets/{bucket}")'}
    policy = {"version": 3, "bindings": [binding(role, BOB, condition=condition)]}
    api.done(OWNER, "PUT", f"/storage/v1/b/{bucket}/iam", policy)
    assert api(BOB, "GET", f"/storage/v1/b/{bucket}/o").status_code == 200
    old = api.done(OWNER, "GET", f"/storage/v1/b/{bucket}/iam")
    assert "_withcond_" in old["bindings"][0]["role"]


@pytest.mark.parametrize(
    ("expression", "said"), [(TRUE["expression"], ""), ("request.time <", "Syntax error"), ("resource.name", "STRING")]
)
def test_a_condition_is_looked_at_before_it_is_set(api: Api, expression: str, said: str) -> None:
    found = api.done(BOB, "POST", "/v1/iamPolicies:lintPolicy", {"condition": {"expression": expression}})
    assert [result["severity"] for result in found.get("lintResults", [])] == ["ERROR"] * bool(said)
    assert said in str(found)
