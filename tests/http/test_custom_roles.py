"""Custom roles over HTTP: what they grant, from which moment, and what they may not hold."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.harness import PROJECT, Server

P = f"/v1/projects/{PROJECT}"


def made_role(owner: httpx.Client, permissions: list[str], **more: Any) -> dict[str, Any]:
    role_id = f"r{uuid.uuid4().hex[:12]}"
    body = {"roleId": role_id, "role": {"title": "t", "includedPermissions": permissions, "stage": "GA", **more}}
    answer = owner.post(f"{P}/roles", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def shared_model(owner: httpx.Client, role: str, member: str) -> str:
    """A new model on which `member` has `role`."""
    model = f"m{uuid.uuid4().hex[:12]}"
    owner.post(f"{P}/models", json={"name": model}).raise_for_status()
    policy = {"bindings": [{"role": role, "members": [member]}]}
    owner.post(f"{P}/models/{model}:setIamPolicy", json={"policy": policy}).raise_for_status()
    return f"{P}/models/{model}"


@pytest.fixture
def member() -> str:
    return f"user:{uuid.uuid4().hex[:10]}@example.com"


def test_a_role_grants_what_it_holds_and_nothing_else(server: Server, member: str) -> None:
    owner, caller = server.http(), server.http(member)
    role = made_role(owner, ["ml.models.get"])
    model = shared_model(owner, role["name"], member)
    assert caller.get(model).status_code == 200
    assert caller.get(f"{model}/versions").status_code == 403
    assert caller.delete(model).status_code == 403


def test_an_edit_counts_from_its_answer_on(server: Server, member: str) -> None:
    owner, caller = server.http(), server.http(member)
    role = made_role(owner, ["ml.models.get"])
    model = shared_model(owner, role["name"], member)
    for permissions, status in ((["ml.versions.list"], 403), (["ml.models.get"], 200), ([], 403)):
        answer = owner.patch(
            f"/v1/{role['name']}",
            params={"updateMask": "includedPermissions"},
            json={"includedPermissions": permissions},
        )
        assert answer.json().get("includedPermissions", []) == permissions
        assert caller.get(model).status_code == status


@pytest.mark.parametrize("stage", ["DISABLED"])
def test_a_disabled_role_grants_nothing_and_a_role_of_another_stage_does(
    server: Server, member: str, stage: str
) -> None:
    owner, caller = server.http(), server.http(member)
    role = made_role(owner, ["ml.models.get"])
    model = shared_model(owner, role["name"], member)
    owner.patch(f"/v1/{role['name']}", params={"updateMask": "stage"}, json={"stage": stage}).raise_for_status()
    assert caller.get(model).status_code == 403
    owner.patch(f"/v1/{role['name']}", params={"updateMask": "stage"}, json={"stage": "BETA"}).raise_for_status()
    assert caller.get(model).status_code == 200


def test_a_deleted_role_keeps_its_binding_grants_nothing_and_can_be_restored(server: Server, member: str) -> None:
    """T-22."""
    owner, caller = server.http(), server.http(member)
    role = made_role(owner, ["ml.models.get"])
    model = shared_model(owner, role["name"], member)
    assert owner.delete(f"/v1/{role['name']}").json()["deleted"] is True
    assert caller.get(model).status_code == 403
    assert role["name"] in owner.get(f"{model}:getIamPolicy").text
    listed = owner.get(f"{P}/roles", params={"pageSize": 1000}).json().get("roles", [])
    assert role["name"] not in [r["name"] for r in listed]
    with_deleted = owner.get(f"{P}/roles", params={"pageSize": 1000, "showDeleted": "true"}).json()["roles"]
    assert role["name"] in [r["name"] for r in with_deleted]
    again = {"roleId": role["name"].rpartition("/")[2], "role": {}}
    assert owner.post(f"{P}/roles", json=again).status_code == 409
    owner.post(f"/v1/{role['name']}:undelete").raise_for_status()
    assert caller.get(model).status_code == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"roleId": "ab", "role": {}}, "role id"),
        ({"roleId": "a" * 65, "role": {}}, "role id"),
        ({"roleId": "a-b", "role": {}}, "role id"),
        ({"roleId": "abc", "role": {"includedPermissions": ["ml.models.fly"]}}, "ml.models.fly"),
        ({"roleId": "abc", "role": {"includedPermissions": ["ml.*"]}}, "ml.*"),
        ({"roleId": "abc", "role": {"includedPermissions": ["resourcemanager.projects.create"]}}, "projects.create"),
        ({"roleId": "abc", "role": {"title": "t" * 101}}, "title"),
        ({"roleId": "abc", "role": {"description": "t" * 301}}, "description"),
        ({"roleId": "abc", "role": {"stage": "GOLD"}}, "GOLD"),
    ],
)
def test_a_role_that_may_not_be_is_refused_with_the_reason(server: Server, body: dict[str, Any], named: str) -> None:
    answer = server.http().post(f"{P}/roles", json=body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


def test_a_role_of_one_project_cannot_be_bound_in_another(server: Server) -> None:
    owner = server.http()
    role = made_role(owner, ["ml.models.get"])
    other = f"p{uuid.uuid4().hex[:12]}"
    owner.post("/v1/projects", json={"projectId": other}).raise_for_status()
    owner.post(f"/v1/projects/{other}/models", json={"name": "m"}).raise_for_status()
    policy = {"bindings": [{"role": role["name"], "members": ["user:bob@example.com"]}]}
    answer = owner.post(f"/v1/projects/{other}/models/m:setIamPolicy", json={"policy": policy})
    assert answer.status_code == 400
    assert role["name"] in answer.json()["error"]["message"]


def test_two_editors_of_a_role_do_not_overwrite_each_other(server: Server) -> None:
    owner = server.http()
    role = made_role(owner, ["ml.models.get"])
    first = owner.patch(f"/v1/{role['name']}", json={"title": "one", "etag": role["etag"]})
    assert first.status_code == 200
    second = owner.patch(f"/v1/{role['name']}", json={"title": "two", "etag": role["etag"]})
    assert (second.status_code, second.json()["error"]["status"]) == (409, "ABORTED")
