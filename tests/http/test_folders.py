"""The tree above projects, over HTTP and on two server processes: what a role on a folder reaches, from which moment,
who may move what, and the rules that keep the tree small and sound.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from mlgate.core.wire import format_timestamp
from tests.command_line import CommandLine
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing

ORGANIZATION = "organizations/1"
ADMIN = "user:tree-admin@example.com"
STRANGER = "user:tree-stranger@example.com"
VIEWER, FOLDER_ADMIN, MOVER = (
    "roles/ml.viewer",
    "roles/resourcemanager.folderAdmin",
    "roles/resourcemanager.projectMover",
)
ROUNDS = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("tree") / "data", workers=2).initialize().start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        for role in (FOLDER_ADMIN, "roles/resourcemanager.projectCreator"):
            grant(made, ORGANIZATION, role, ADMIN)
        yield made


def word() -> str:
    return f"x{uuid.uuid4().hex[:12]}"


def person() -> str:
    return f"user:{word()}@example.com"


def grant(api: Api, name: str, role: str, member: str, by: str = OWNER) -> None:
    """Add a binding to the policy of a folder, a project or the organization."""
    policy = api.done(by, "POST", f"/v3/{name}:getIamPolicy", {})
    policy["bindings"] = [*policy.get("bindings", []), {"role": role, "members": [member]}]
    api.done(by, "POST", f"/v3/{name}:setIamPolicy", {"policy": policy})


def custom_grant(api: Api, name: str, permissions: list[str], member: str) -> None:
    """The same with a role that holds these permissions and nothing else."""
    role = {"title": "t", "includedPermissions": permissions, "stage": "GA"}
    with writing(api.server) as tx:  # nobody is an administrator of the organization's roles here
        tx.set_fact("role", f"organizations/1/roles/{(role_id := word())}", role["includedPermissions"])
    grant(api, name, f"organizations/1/roles/{role_id}", member)


def folder(api: Api, parent: str = ORGANIZATION, **more: Any) -> str:
    """A new folder; its name."""
    body = {"displayName": word(), "parent": parent, **more}
    return str(api.done(ADMIN, "POST", "/v3/folders", body)["response"]["name"])


def chain(api: Api, levels: int) -> list[str]:
    """Folders in one another, from the top."""
    names = [folder(api)]
    while len(names) < levels:
        names.append(folder(api, names[-1]))
    return names


def project(api: Api, parent: str = ORGANIZATION) -> str:
    """A new project with a model `m`; its name."""
    project_id = word()
    api.done(ADMIN, "POST", "/v3/projects", {"projectId": project_id, "parent": parent})
    api.done(ADMIN, "POST", f"/v1/projects/{project_id}/models", {"name": "m"})
    return f"projects/{project_id}"


def model_status(api: Api, who: str, name: str) -> int:
    """Whether somebody may read the project's model: on a new connection, so that any process may answer."""
    headers = {"Authorization": f"Bearer {api.bearers[who]}"}
    return httpx.get(f"{api.server.url}/v1/{name}/models/m", headers=headers).status_code


def move(api: Api, who: str, name: str, to: str) -> httpx.Response:
    return api(who, "POST", f"/v3/{name}:move", {"destinationParent": to})


def refused(response: httpx.Response, rule: str) -> None:
    error = error_of(response)
    assert (response.status_code, error["status"]) == (400, "FAILED_PRECONDITION"), error
    assert error["details"][0]["reason"] == f"{rule}_VIOLATION"


def denied(response: httpx.Response, permission: str) -> None:
    error = error_of(response)
    assert (response.status_code, error["status"]) == (403, "PERMISSION_DENIED"), error
    assert error["details"][0]["metadata"]["permission"] == permission


# What a role on a folder reaches


def test_a_role_on_a_folder_reaches_the_models_of_every_project_below_and_no_other(api: Api) -> None:
    top, middle, bottom = chain(api, 3)
    inside, deeper, beside = project(api, middle), project(api, bottom), project(api, top)
    bob = person()
    api.sign_in([bob])
    grant(api, middle, VIEWER, bob)
    assert [model_status(api, bob, name) for name in (inside, deeper, beside)] == [200, 200, 403]
    api.done(OWNER, "POST", f"/v3/{middle}:setIamPolicy", {"policy": {}})
    assert [model_status(api, bob, name) for name in (inside, deeper)] == [403, 403]


def test_a_move_changes_who_may_from_its_answer_on_in_every_process(api: Api) -> None:
    """Of a project, and of a folder with the project in it."""
    left, right = folder(api), folder(api)
    between = folder(api, left)
    alone, within = project(api, left), project(api, between)
    people = {left: person(), right: person()}
    api.sign_in(people.values())
    for place, who in people.items():
        grant(api, place, VIEWER, who)
    grant(api, ORGANIZATION, MOVER, ADMIN)
    here, there = left, right
    for _ in range(ROUNDS):
        here, there = there, here
        for moved in (alone, between):
            assert move(api, ADMIN, moved, here).status_code == 200
        for name in (alone, within):
            assert [model_status(api, people[place], name) for place in (here, there) for _ in range(4)] == [
                200, 200, 200, 200, 403, 403, 403, 403,
            ]  # fmt: skip


def test_whoever_governs_the_folder_governs_a_project_that_is_moved_into_it(api: Api) -> None:
    place, name, governor = folder(api), project(api), person()
    grant(api, place, FOLDER_ADMIN, governor)
    grant(api, ORGANIZATION, MOVER, ADMIN)
    assert api(governor, "POST", f"/v3/{name}:getIamPolicy", {}).status_code == 403
    assert move(api, ADMIN, name, place).status_code == 200
    assert api(governor, "POST", f"/v3/{name}:getIamPolicy", {}).status_code == 200


# Who may


FOLDER_MOVES = [
    ({"here": ["move"], "there": ["move"]}, ""),
    ({"here": ["move"]}, "there"),
    ({"folder": ["move"], "there": ["move"]}, "here"),
    ({"there": ["move"]}, "folder"),
    ({"here": ["update", "setIamPolicy"], "there": ["move"]}, "folder"),
]
PROJECT_MOVES = [
    ({"here": ["move"], "there": ["create"]}, ""),
    ({"here": ["move"]}, "there"),
    ({"here": ["move"], "there": ["move"]}, ""),
    ({"project": ["move"], "there": ["create"]}, "here"),
    ({"here": ["create"], "there": ["create", "move"]}, "project"),
]


def moves(api: Api, kind: str, held: dict[str, list[str]]) -> tuple[str, dict[str, str]]:
    """Somebody who holds these permissions of one kind in these places, and the places."""
    here, there = folder(api), folder(api)
    places = {"here": here, "there": there, kind: project(api, here) if kind == "project" else folder(api, here)}
    who = person()
    for place, verbs in held.items():
        custom_grant(api, places[place], [f"resourcemanager.{kind}s.{verb}" for verb in verbs], who)
    return who, places


@pytest.mark.parametrize(("held", "missing"), FOLDER_MOVES)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_folder_is_moved_by_who_may_move_at_both_ends(
    api: Api, version: str, held: dict[str, list[str]], missing: str
) -> None:
    who, places = moves(api, "folder", held)
    response = api(who, "POST", f"/{version}/{places['folder']}:move", {"destinationParent": places["there"]})
    if not missing:
        assert response.json()["response"]["parent"] == places["there"]
    else:
        denied(response, "resourcemanager.folders.move")
        assert error_of(response)["details"][0]["metadata"]["resource"] == places[missing]


@pytest.mark.parametrize(("held", "missing"), PROJECT_MOVES)
def test_a_project_is_moved_by_who_may_move_it_out_and_create_where_it_goes(
    api: Api, held: dict[str, list[str]], missing: str
) -> None:
    who, places = moves(api, "project", held)
    response = move(api, who, places["project"], places["there"])
    if not missing:
        assert response.json()["response"]["parent"] == places["there"]
    else:
        verb = "create" if missing == "there" else "move"
        denied(response, f"resourcemanager.projects.{verb}")
        assert error_of(response)["details"][0]["metadata"]["resource"] == places[missing]


@pytest.mark.parametrize(("held", "missing"), PROJECT_MOVES)
def test_an_update_that_names_another_parent_needs_what_a_move_needs(
    api: Api, held: dict[str, list[str]], missing: str
) -> None:
    who, places = moves(api, "project", {**held, "project": [*held.get("project", []), "update"]})
    body = {"name": "renamed", "parent": {"type": "folder", "id": places["there"].removeprefix("folders/")}}
    response = api(who, "PUT", f"/v1/{places['project']}", body)
    assert response.status_code == (403 if missing else 200), response.text
    shown = api.done(ADMIN, "GET", f"/v3/{places['project']}")
    assert shown["parent"] == places["here" if missing else "there"]
    stay = {"name": "renamed again"}
    assert api.done(who, "PUT", f"/v1/{places['project']}", stay)["parent"] == {
        "type": "folder",
        "id": shown["parent"].removeprefix("folders/"),
    }


def test_an_owner_cannot_take_the_project_out_of_reach_of_the_folders_people(api: Api) -> None:
    """An owner may give roles on the project, that of a mover too."""
    place, owner = folder(api), person()
    name = project(api, place)
    grant(api, name, "roles/owner", owner)
    grant(api, ORGANIZATION, "roles/resourcemanager.projectCreator", owner)
    grant(api, name, MOVER, owner, by=owner)
    denied(move(api, owner, name, ORGANIZATION), "resourcemanager.projects.move")


def test_nothing_is_created_without_the_right_on_the_parent(api: Api) -> None:
    mine, other, who = folder(api), folder(api), person()
    custom_grant(api, mine, ["resourcemanager.folders.create", "resourcemanager.projects.create"], who)
    number = other.removeprefix("folders/")
    for attempt in (
        api(who, "POST", "/v3/folders", {"displayName": word(), "parent": other}),
        api(who, "POST", "/v3/folders", {"displayName": word()}),
        api(who, "POST", "/v3/folders", {"displayName": word(), "parent": "folders/999"}),
        api(who, "POST", "/v3/folders", {"displayName": word(), "parent": [mine]}),
        api(who, "POST", "/v3/folders", {"nonsense": 1}),
        api(who, "POST", "/v3/folders", {"displayName": word()}, params={"parent": mine}),
        api(who, "POST", "/v3/folders"),
        api(who, "POST", "/v2/folders", {"displayName": word()}, params={"parent": other}),
        api(who, "POST", "/v2/folders", {"displayName": word(), "parent": mine}),
    ):
        denied(attempt, "resourcemanager.folders.create")
    for attempt in (
        api(who, "POST", "/v3/projects", {"projectId": word(), "parent": other}),
        api(who, "POST", "/v3/projects", {"projectId": word()}),
        api(who, "POST", "/v1/projects", {"projectId": word()}),
        api(who, "POST", "/v1/projects", {"projectId": word(), "parent": {"type": "folder", "id": number}}),
        api(who, "POST", "/v1/projects", {"projectId": word(), "parent": {"type": "planet", "id": number}}),
        api(who, "POST", "/v1/projects", {"projectId": word(), "parent": {"type": "organization", "id": "2"}}),
    ):
        denied(attempt, "resourcemanager.projects.create")
    folder_id = mine.removeprefix("folders/")
    assert api(who, "POST", "/v3/folders", {"displayName": word(), "parent": mine}).status_code == 200
    assert api(who, "POST", "/v2/folders", {"displayName": word()}, params={"parent": mine}).status_code == 200
    body = {"projectId": word(), "parent": {"type": "folder", "id": folder_id}}
    assert api(who, "POST", "/v1/projects", body).status_code == 200


def test_a_stranger_hears_the_same_of_a_folder_that_exists_and_of_one_that_does_not(api: Api) -> None:
    for name in (folder(api), "folders/999"):
        for http, path, body, permission in (
            ("GET", f"/v3/{name}", None, "get"),
            ("GET", f"/v2/{name}", None, "get"),
            ("PATCH", f"/v3/{name}", {"displayName": "?"}, "update"),
            ("DELETE", f"/v3/{name}", None, "delete"),
            ("POST", f"/v3/{name}:move", {"destinationParent": "nowhere"}, "move"),
            ("POST", f"/v3/{name}:undelete", None, "undelete"),
            ("GET", f"/v3/folders?parent={name}", None, "list"),
            ("POST", f"/v3/{name}:getIamPolicy", {}, "getIamPolicy"),
            ("POST", f"/v3/{name}:setIamPolicy", {"policy": 1}, "setIamPolicy"),
        ):
            response = api(STRANGER, http, path, body)
            denied(response, f"resourcemanager.folders.{permission}")
            assert error_of(response)["details"][0]["metadata"]["resource"] == name
        asked = {"permissions": ["resourcemanager.folders.get"]}
        assert api.done(STRANGER, "POST", f"/v3/{name}:testIamPermissions", asked) == {}
    assert api.done(ADMIN, "POST", f"/v3/{folder(api)}:testIamPermissions", asked) == asked


def test_a_search_finds_only_what_the_caller_may_get(api: Api) -> None:
    top, bottom = chain(api, 2)
    hidden = folder(api)
    name, who = project(api, bottom), person()
    grant(api, top, "roles/resourcemanager.folderViewer", who)
    found = api.done(who, "GET", "/v3/folders:search")["folders"]
    assert {f["name"] for f in found} == {top, bottom}
    assert {f["name"] for f in api.done(who, "POST", "/v2/folders:search", {})["folders"]} == {top, bottom}
    assert hidden in {f["name"] for f in every(api, ADMIN, "/v3/folders:search", "folders")}
    assert [p["projectId"] for p in api.done(who, "GET", "/v3/projects:search")["projects"]] == [name.partition("/")[2]]
    assert api.done(STRANGER, "GET", "/v3/folders:search") == {}
    assert api.done(STRANGER, "GET", "/v3/organizations:search") == {}
    assert api.done(STRANGER, "POST", "/v1/organizations:search", {}) == {}
    assert api.done(ADMIN, "GET", "/v3/organizations:search")["organizations"][0]["name"] == ORGANIZATION


def every(api: Api, who: str, path: str, field: str, **query: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    items: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = api.done(who, "GET", path, params={"pageSize": "2", "pageToken": token, **query})
        items += answer.get(field, [])
        token = answer.get("nextPageToken", "")
        if not token:
            return items


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('displayName="{name}"', True), ("displayName={name}* AND state=ACTIVE", True), ("parent={parent}", True),
        ("parent={parent} AND lifecycleState=DELETE_REQUESTED", False), ("parent=folders/1", False), ("", True),
    ],
)  # fmt: skip
def test_queries_select_folders(api: Api, query: str, found: bool) -> None:
    top, bottom = chain(api, 2)
    name = api.done(ADMIN, "GET", f"/v3/{bottom}")["displayName"]
    listed = every(api, ADMIN, "/v3/folders:search", "folders", query=query.format(name=name, parent=top))
    assert (bottom in [f["name"] for f in listed]) is found


def test_projects_are_searched_and_filtered_by_their_parent(api: Api) -> None:
    place = folder(api)
    ids = sorted(project(api, place).partition("/")[2] for _ in range(3))
    number = place.removeprefix("folders/")
    for path, query in (
        ("/v3/projects:search", {"query": f"parent={place}"}),
        ("/v1/projects", {"filter": f"parent.type:folder parent.id:{number}"}),
        ("/v3/projects", {"parent": place}),
    ):
        assert [p["projectId"] for p in every(api, ADMIN, path, "projects", **query)] == ids


def test_roles_and_audit_settings_that_fit_a_folder_can_be_set_there(api: Api) -> None:
    name = folder(api)
    asked = {"fullResourceName": f"//cloudresourcemanager.googleapis.com/{name}"}
    fitting = {role["name"] for role in api.done(ADMIN, "POST", "/v1/roles:queryGrantableRoles", asked)["roles"]}
    assert {VIEWER, FOLDER_ADMIN} <= fitting
    testable = api.done(ADMIN, "POST", "/v1/permissions:queryTestablePermissions", asked)["permissions"]
    assert "resourcemanager.folders.move" in {permission["name"] for permission in testable}
    audit = [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]
    body = {"policy": {"auditConfigs": audit}, "updateMask": "auditConfigs"}
    assert api.done(ADMIN, "POST", f"/v3/{name}:setIamPolicy", body)["auditConfigs"] == audit
    wrong = {"policy": {"bindings": [{"role": "roles/iam.denyAdmin", "members": [ADMIN]}]}}
    assert api(ADMIN, "POST", f"/v3/{name}:setIamPolicy", wrong).status_code == 400


# The rules of the tree


def test_at_most_ten_folders_are_above_one_another(api: Api) -> None:
    names, (top, _) = chain(api, 10), chain(api, 2)
    refused(api(ADMIN, "POST", "/v3/folders", {"displayName": word(), "parent": names[9]}), "ACTIVE_FOLDER_HEIGHT")
    refused(move(api, ADMIN, top, names[8]), "ACTIVE_FOLDER_HEIGHT")
    assert move(api, ADMIN, top, names[7]).status_code == 200
    assert project(api, names[9])


def test_at_most_three_hundred_folders_are_in_one_place(api: Api) -> None:
    place, elsewhere = folder(api), folder(api)
    first = folder(api, place)
    with writing(api.server) as tx:  # as many calls would do
        some = tx.get(first)
        assert some is not None
        for n in range(298):
            some.name, some.body = f"folders/{n}0000", {**some.body, "displayName": f"folder {n}"}
            tx.insert(some)
    last = folder(api, place)
    refused(api(ADMIN, "POST", "/v3/folders", {"displayName": word(), "parent": place}), "MAX_CHILD_FOLDERS")
    refused(move(api, ADMIN, elsewhere, place), "MAX_CHILD_FOLDERS")
    api.done(ADMIN, "DELETE", f"/v3/{last}")
    assert move(api, ADMIN, elsewhere, place).status_code == 200
    refused(api(ADMIN, "POST", f"/v3/{last}:undelete"), "MAX_CHILD_FOLDERS")


@pytest.mark.parametrize("name", ["abc", "A folder_of-9", "x" * 30, "Öffentlich", "三つの山", "1 2"])
def test_names_that_a_folder_may_have(api: Api, name: str) -> None:
    assert folder(api, folder(api), displayName=name)


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 31, " abc", "abc ", "-abc", "abc_", "a/b", "a.b", "a\nb", "a'b", "a😀b"]
)
def test_names_that_a_folder_may_not_have(api: Api, name: str) -> None:
    response = api(ADMIN, "POST", "/v3/folders", {"displayName": name, "parent": ORGANIZATION})
    assert response.status_code == 400
    assert error_of(response)["details"][0]["fieldViolations"][0]["field"] == "displayName"


def test_a_name_is_unique_in_its_place(api: Api) -> None:
    place, other = folder(api), folder(api)
    first, second = folder(api, place, displayName="Team one"), folder(api, place, displayName="Team two")
    same = {"displayName": "Team one", "parent": place}
    refused(api(ADMIN, "POST", "/v3/folders", same), "FOLDER_NAME_UNIQUENESS")
    mask = {"updateMask": "displayName"}
    refused(api(ADMIN, "PATCH", f"/v3/{second}", {"displayName": "Team one"}, params=mask), "FOLDER_NAME_UNIQUENESS")
    elsewhere = folder(api, other, displayName="Team one")
    refused(move(api, ADMIN, elsewhere, place), "FOLDER_NAME_UNIQUENESS")
    assert api(ADMIN, "PATCH", f"/v3/{first}", {"displayName": "Team one"}, params=mask).status_code == 200
    api.done(ADMIN, "DELETE", f"/v3/{first}")
    assert move(api, ADMIN, elsewhere, place).status_code == 200
    refused(api(ADMIN, "POST", f"/v3/{first}:undelete"), "FOLDER_NAME_UNIQUENESS")


def test_a_folder_never_gets_into_itself(api: Api) -> None:
    names = chain(api, 3)
    for inside in names:
        refused(move(api, ADMIN, names[0], inside), "CYCLE_INTRODUCED")
    assert move(api, ADMIN, names[2], names[0]).status_code == 200
    assert move(api, ADMIN, names[1], names[2]).status_code == 200


def test_of_two_moves_that_together_would_be_a_cycle_one_is_refused(api: Api) -> None:
    left, right = folder(api), folder(api)
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(2) as threads:
            both = [threads.submit(move, api, ADMIN, one, other) for one, other in ((left, right), (right, left))]
        moved = [name for name, done in zip((left, right), both, strict=True) if done.result().status_code == 200]
        assert len(moved) == 1
        assert move(api, ADMIN, moved[0], ORGANIZATION).status_code == 200


@pytest.mark.parametrize(
    "place", ["", "projects/{p}", "organizations/2", "folders/1", "organizations/1/folders/2", "x"]
)
def test_a_place_that_is_none_is_refused(api: Api, place: str) -> None:
    """By the missing right, but for places where the caller has it by what is above."""
    name, parent = project(api), folder(api)
    place = place.format(p=name.removeprefix("projects/"))
    for path, body in (
        (f"/v3/{parent}:move", {"destinationParent": place}),
        ("/v3/folders", {"displayName": word(), "parent": place}),
    ):
        assert api(ADMIN, "POST", path, body).status_code in (400, 403)


def test_only_an_empty_folder_is_deleted_and_it_comes_back_where_it_was(api: Api) -> None:
    top, bottom = chain(api, 2)
    name = project(api, bottom)
    refused(api(ADMIN, "DELETE", f"/v3/{top}"), "FOLDER_TO_DELETE_NON_EMPTY")
    refused(api(ADMIN, "DELETE", f"/v2/{bottom}"), "FOLDER_TO_DELETE_NON_EMPTY")
    api.done(ADMIN, "DELETE", f"/v3/{name}")
    deleted = api.done(ADMIN, "DELETE", f"/v3/{bottom}")["response"]
    assert (deleted["state"], "deleteTime" in deleted) == ("DELETE_REQUESTED", True)
    assert api.done(ADMIN, "GET", f"/v2/{bottom}")["lifecycleState"] == "DELETE_REQUESTED"
    assert api.done(ADMIN, "GET", "/v3/folders", params={"parent": top}) == {}
    with_deleted = api.done(ADMIN, "GET", "/v3/folders", params={"parent": top, "showDeleted": "true"})
    assert [f["name"] for f in with_deleted["folders"]] == [bottom]
    for attempt in (
        api(ADMIN, "POST", "/v3/folders", {"displayName": word(), "parent": bottom}),
        api(ADMIN, "POST", "/v3/projects", {"projectId": word(), "parent": bottom}),
        api(ADMIN, "POST", f"/v3/{name}:undelete"),
        move(api, ADMIN, folder(api), bottom),
    ):
        refused(attempt, "PARENT_DELETED")
    refused(move(api, ADMIN, bottom, ORGANIZATION), "RESOURCE_DELETED")
    api.done(ADMIN, "DELETE", f"/v3/{top}")
    refused(api(ADMIN, "POST", f"/v3/{bottom}:undelete"), "PARENT_DELETED")
    api.done(ADMIN, "POST", f"/v3/{top}:undelete")
    assert api.done(ADMIN, "POST", f"/v2/{bottom}:undelete", {})["parent"] == top
    assert api.done(ADMIN, "POST", f"/v3/{name}:undelete")["response"]["state"] == "ACTIVE"
    assert model_status(api, ADMIN, name) == 200


def test_a_deleted_folder_can_be_restored_for_thirty_days(api: Api) -> None:
    for days, status in ((29, 200), (31, 400)):
        name = folder(api)
        api.done(ADMIN, "DELETE", f"/v3/{name}")
        with writing(api.server) as tx:  # time goes by
            record = tx.get(name)
            assert record is not None
            record.hidden["deleteTime"] = format_timestamp(datetime.now(UTC) - timedelta(days=days))
            tx.update(record)
        assert api(ADMIN, "POST", f"/v3/{name}:undelete").status_code == status


def test_a_stale_etag_is_refused(api: Api) -> None:
    name, place = folder(api), project(api)
    for resource, changed in ((name, {"displayName": word()}), (place, {"labels": {"team": "blue"}})):
        mask = {"updateMask": next(iter(changed))}
        etag = api.done(ADMIN, "GET", f"/v3/{resource}")["etag"]
        assert api(ADMIN, "PATCH", f"/v3/{resource}", {**changed, "etag": etag}, params=mask).status_code == 200
        again = api(ADMIN, "PATCH", f"/v3/{resource}", {**changed, "etag": etag}, params=mask)
        assert (again.status_code, error_of(again)["status"]) == (409, "ABORTED")


def test_the_audit_log_tells_who_moved_what_from_where_and_by_which_grant(api: Api, server: Server) -> None:
    name, place = folder(api), folder(api)
    assert move(api, ADMIN, name, place).status_code == 200
    created, moved = audited(server, ORGANIZATION, "create", name), audited(server, name, "move", place)
    for entry in (created, moved):
        assert (entry["principal"], entry["outcome"]) == (ADMIN, "OK")
        assert json.loads(entry["because"])["role"] == FOLDER_ADMIN
    assert json.loads(moved["detail"]) == {"sourceParent": ORGANIZATION, "destinationParent": place}


def test_a_parent_that_no_database_can_store_is_denied_and_remembered(api: Api, server: Server) -> None:
    denied(api(STRANGER, "POST", "/v3/folders", {"parent": "folders/\x00odd"}), "resourcemanager.folders.create")
    assert audited(server, "folders/\ufffdodd", "create", "")["outcome"] == "PERMISSION_DENIED"


def audited(server: Server, resource: str, verb: str, detail: str) -> dict[str, Any]:
    """The entry of the audit log, once it is there; denials come a moment later."""
    query = "SELECT * FROM audit_entries WHERE resource = ? AND method LIKE ? AND detail LIKE ?"
    until = monotonic() + 30
    with closing(sqlite3.connect(server.data_dir / "mlgate.db")) as database:
        database.row_factory = sqlite3.Row
        while not (row := database.execute(query, (resource, f"%.{verb}", f"%{detail}%")).fetchone()):
            assert monotonic() < until, f"no entry for {resource}"
            sleep(0.05)
    return dict(row)


# Clients


def test_googles_clients_manage_the_tree(api: Api, server: Server) -> None:
    v1, v2, v3 = (server.api("cloudresourcemanager", ADMIN, version) for version in ("v1", "v2", "v3"))
    top = v3.folders().create(body={"displayName": "Clients top", "parent": ORGANIZATION}).execute()["response"]
    assert {k: top[k] for k in ("displayName", "parent", "state")} == {
        "displayName": "Clients top", "parent": ORGANIZATION, "state": "ACTIVE",
    }  # fmt: skip
    below = v2.folders().create(parent=top["name"], body={"displayName": "Clients below"}).execute()["response"]
    assert below["@type"] == "type.googleapis.com/google.cloud.resourcemanager.v2.Folder"
    assert [f["name"] for f in v2.folders().list(parent=top["name"]).execute()["folders"]] == [below["name"]]
    renamed = v2.folders().patch(name=below["name"], updateMask="displayName", body={"displayName": "Clients again"})
    assert renamed.execute()["displayName"] == "Clients again"
    assert v3.folders().search(query='displayName="Clients again"').execute()["folders"][0]["name"] == below["name"]

    project_id, number = word(), below["name"].removeprefix("folders/")
    parent = {"type": "folder", "id": number}
    v1.projects().create(body={"projectId": project_id, "parent": parent}).execute()
    ancestry = v1.projects().getAncestry(projectId=project_id, body={}).execute()["ancestor"]
    assert [a["resourceId"]["type"] for a in ancestry] == ["project", "folder", "folder", "organization"]
    shown = v3.projects().get(name=f"projects/{project_id}").execute()
    assert (shown["parent"], shown["displayName"]) == (below["name"], project_id)
    by_number = v3.projects().get(name=shown["name"]).execute()
    assert by_number == shown
    patch = v3.projects().patch(name=shown["name"], updateMask="displayName", body={"displayName": "Mine"})
    assert patch.execute()["response"]["displayName"] == "Mine"
    assert v1.projects().get(projectId=project_id).execute()["name"] == "Mine"
    assert v3.projects().list(parent=below["name"]).execute()["projects"][0]["projectId"] == project_id

    policy = v3.folders().getIamPolicy(resource=top["name"], body={}).execute()
    policy["bindings"] = [{"role": VIEWER, "members": ["user:bob@example.com"]}]
    stored = v2.folders().setIamPolicy(resource=top["name"], body={"policy": policy}).execute()
    assert stored["bindings"] == policy["bindings"]
    grant(api, ORGANIZATION, MOVER, ADMIN)
    moved = v3.projects().move(name=shown["name"], body={"destinationParent": top["name"]}).execute()
    assert moved["response"]["parent"] == top["name"]
    v2.folders().delete(name=below["name"]).execute()
    v3.projects().delete(name=shown["name"]).execute()
    assert v3.folders().delete(name=top["name"]).execute()["response"]["state"] == "DELETE_REQUESTED"
    assert v3.organizations().get(name=ORGANIZATION).execute()["state"] == "ACTIVE"
    held = v1.organizations().testIamPermissions(
        resource=ORGANIZATION, body={"permissions": ["resourcemanager.folders.create", "ml.models.predict"]}
    )
    assert held.execute() == {"permissions": ["resourcemanager.folders.create"]}


def test_the_command_line_manages_the_tree(api: Api, server: Server, tmp_path: Path) -> None:
    shell = CommandLine(server, tmp_path, ADMIN)

    def run(*words: str) -> str:
        return shell.ok(*words).stdout

    grant(api, ORGANIZATION, MOVER, ADMIN)
    folders = ("resource-manager", "folders")
    made = run(*folders, "create", "--display-name", "From a shell", "--organization", "1", "--format", "value(name)")
    number = made.strip().removeprefix("folders/")
    inner = run(*folders, "create", "--display-name", "Inside", "--folder", number, "--format", "value(name)").strip()
    assert inner in run(*folders, "list", "--folder", number, "--format", "value(name)")
    assert "From a shell" in run(*folders, "describe", number)
    assert "Renamed" in run(*folders, "update", inner, "--display-name", "Renamed")
    assert "roles/ml.viewer" in run(*folders, "add-iam-policy-binding", number, "--member", ADMIN, "--role", VIEWER)
    project_id = word()
    run("projects", "create", project_id, "--folder", inner)
    assert run("projects", "get-ancestors", project_id, "--format", "value(id)").split() == [
        project_id, inner.removeprefix("folders/"), number, "1",
    ]  # fmt: skip
    assert made.strip() in run("projects", "move", project_id, "--folder", number)
    assert "organizations/1" in run(*folders, "move", inner, "--organization", "1")
    run(*folders, "delete", inner)
    assert "ACTIVE" in run(*folders, "undelete", inner)
    assert FOLDER_ADMIN in CommandLine(server, tmp_path).ok("organizations", "get-iam-policy", "1").stdout
    assert run("organizations", "list", "--format", "value(name)").strip() == ORGANIZATION
    for words in (("list",), ("list", "--folder", number, "--organization", "1"), ("move", number)):
        assert "--folder" in shell.fails(*folders, *words)


def test_an_operation_is_read_again_by_its_caller_and_by_nobody_else(api: Api) -> None:
    """gcloud asks for the operation of a new project or folder, although the first answer says that it is done."""
    made = api.done(OWNER, "POST", "/v1/projects", {"projectId": f"p-{uuid.uuid4().hex[:12]}"})
    for version in ("v1", "v3"):
        assert api.done(OWNER, "GET", f"/{version}/{made['name']}") == made
    for who, name in ((STRANGER, made["name"]), (STRANGER, "operations/cp.1"), (OWNER, "operations/cp.1")):
        denied = api(who, "GET", f"/v1/{name}")
        assert denied.status_code == 403
        assert denied.json()["error"]["message"] == f"The caller has no operation '{name}'."
