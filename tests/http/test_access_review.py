"""Access reviews over HTTP: who can call this model, and what can this person reach?"""

from __future__ import annotations

import csv
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.discovery import build_from_document

from mlgate.api import discovery
from mlgate.api.methods import registry
from mlgate.cli import output
from mlgate.core.iam.conditions import until
from mlgate.core.iam.deny import DenyPolicy, DenyRule, to_plain
from mlgate.core.wire import format_timestamp, page_token
from tests.command_line import CommandLine
from tests.contract.test_discovery import _NoHttp, contract, fields, google, methods
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing

PREDICT, READ = "ml.models.predict", "ml.models.get"
USER, MODEL_OWNER = "roles/ml.modelUser", "roles/ml.modelOwner"
ML = "//ml.googleapis.com"
MANAGER = "//cloudresourcemanager.googleapis.com"
ORGANIZATION = "organizations/1"
AUDITOR = "user:auditor@example.com"
END = 4_000_000_000  # the year 2096
Entry = dict[str, Any]


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        policy = made.done(OWNER, "POST", f"/v1/{ORGANIZATION}:getIamPolicy", {})
        for role in ("roles/cloudasset.viewer", "roles/cloudidentity.groupsViewer"):
            policy["bindings"].append({"role": role, "members": [AUDITOR]})
        made.done(OWNER, "POST", f"/v1/{ORGANIZATION}:setIamPolicy", {"policy": policy})
        yield made


class Place:
    """A project of a test's own with people, groups and a model `m`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.tag = uuid.uuid4().hex[:10]
        self.id = f"p{self.tag}"
        self.path = api.new_project(self.id)
        self.name = f"projects/{self.id}"
        self.model = self.new_model("m")

    def person(self, name: str) -> str:
        return f"user:{name}-{self.tag}@example.com"

    def group(self, name: str, members: dict[str, float | None]) -> str:
        """A group with memberships that may end."""
        key = f"group:{name}-{self.tag}@example.com"
        with writing(self.api.server) as tx:
            tx.set_fact("group", key, members)
        return key

    def new_model(self, model_id: str) -> str:
        self.api.done(OWNER, "POST", f"{self.path}/models", {"name": model_id})
        return f"{self.name}/models/{model_id}"

    def set(self, name: str, *bindings: tuple[str, list[str]] | tuple[str, list[str], str]) -> None:
        """Replace a policy; each binding is role, members, and maybe an expression."""
        kept = [("roles/owner", [OWNER])] if name == self.name else []
        policy = {
            "version": 3,
            "bindings": [
                {
                    "role": role,
                    "members": members,
                    **({"condition": {"title": "t", "expression": e[0]}} if e else {}),
                }
                for role, members, *e in (*kept, *bindings)
            ],
        }
        self.api.done(OWNER, "POST", f"/v1/{name}:setIamPolicy", {"policy": policy})

    def deny(self, name: str, *rules: DenyRule) -> None:
        with writing(self.api.server) as tx:
            tx.set_fact("deny", name, to_plain([DenyPolicy("no-way", rules)]) if rules else None)

    def access(self, scope: str = "", **params: Any) -> list[Entry]:
        """All pages of a flat review, by the auditor."""
        found: list[Entry] = []
        while True:
            answer = self.api.done(AUDITOR, "GET", f"/v1/{scope or self.name}:listAccess", params=params)
            found += answer.get("access", [])
            if not answer.get("nextPageToken"):
                return found
            params["pageToken"] = answer["nextPageToken"]

    def analysis(self, who: str = OWNER, **params: Any) -> dict[str, Any]:
        given = {
            f"analysisQuery.{name.replace('__', '.')}": str(value).lower() if isinstance(value, bool) else value
            for name, value in params.items()
        }
        return dict(self.api.done(who, "GET", f"/v1/{self.name}:analyzeIamPolicy", params=given))


@pytest.fixture
def place(api: Api) -> Place:
    return Place(api)


def principals(entries: list[Entry]) -> set[str]:
    return {entry["principal"] for entry in entries}


# ---------------------------------------------------------------------------------------------- who can call this model


def test_who_can_call_a_model_is_told_with_every_path_and_its_end(place: Place) -> None:
    ann, bob, cy, dan = map(place.person, ("ann", "bob", "cy", "dan"))
    inner = place.group("inner", {bob: None, cy: END - 7})
    team = place.group("team", {inner: END, dan: time.time() - 60})
    until_soon = until(datetime.fromtimestamp(END + 5, UTC))
    place.set(place.name, ("roles/ml.developer", [team]))
    place.set(place.model, (USER, [ann], until_soon))
    found = place.access(resource=place.model, permissions=PREDICT)
    on_model, on_project = f"{ML}/{place.model}", f"{MANAGER}/{place.name}"
    common = {"resource": on_model, "permissions": [PREDICT], "state": "ALLOWED"}
    at = {moment: format_timestamp(datetime.fromtimestamp(moment, UTC)) for moment in (END, END - 7, END + 5)}
    expected = [
        {"principal": bob, "role": "roles/ml.developer", "grantedOn": on_project, "member": team,
         "groupPath": [team, inner], "expireTime": at[END], **common},
        {"principal": cy, "role": "roles/ml.developer", "grantedOn": on_project, "member": team,
         "groupPath": [team, inner], "expireTime": at[END - 7], **common},
        {"principal": OWNER, "role": "roles/owner", "grantedOn": on_project, "member": OWNER, **common},
        {"principal": ann, "role": USER, "grantedOn": on_model, "member": ann, "expireTime": at[END + 5],
         "condition": {"title": "t", "expression": until_soon}, **common},
    ]  # fmt: skip
    assert [entry for entry in found if "organizations" not in entry["grantedOn"]] == expected
    assert dan not in principals(found)


def test_a_group_is_closed_to_who_may_not_list_its_members(place: Place) -> None:
    """Or whoever owns a project could read any group: give it a role, and ask who has it."""
    bob, reviewer = place.person("bob"), place.person("reviewer")
    inner = place.group("inner", {bob: None})
    team = place.group("team", {inner: None})
    place.set(place.name, ("roles/cloudasset.viewer", [reviewer]))
    place.set(place.model, (USER, [team]))
    params = {"resource": place.model, "permissions": PREDICT}
    listed = place.api.done(reviewer, "GET", f"{place.path}:listAccess", params=params)
    assert principals(listed["access"]) == {OWNER, team}
    assert listed["closedGroups"] == [team]
    about_bob = place.api.done(reviewer, "GET", f"{place.path}:listAccess", params={**params, "principal": bob})
    assert "access" not in about_bob
    assert about_bob["closedGroups"] == [team]
    whole = place.api.done(AUDITOR, "GET", f"{place.path}:listAccess", params=params)
    assert principals(whole["access"]) == {OWNER, bob}
    assert "closedGroups" not in whole
    query = {"analysisQuery.accessSelector.permissions": PREDICT, "analysisQuery.options.expandGroups": "true"}
    for who, explored in ((reviewer, False), (AUDITOR, True)):
        answer = place.api.done(who, "GET", f"{place.path}:analyzeIamPolicy", params=query)
        assert answer.get("fullyExplored", False) is explored
        assert (bob in str(answer)) is explored


def test_the_list_is_what_the_server_allows(place: Place) -> None:
    """Each of a mixed crowd is in the list exactly when the server lets them."""
    people = [place.person(f"p{n}") for n in range(9)]
    team = place.group("team", {people[0]: None, people[1]: time.time() - 1, people[2]: END})
    place.set(place.name, ("roles/ml.viewer", [people[3]]), (USER, [people[4]], 'resource.name.endsWith("/n")'))
    place.set(place.model, (USER, [team]), (MODEL_OWNER, [people[5]]), (USER, [people[6]], "1 / 0 == 1"))
    place.deny(place.name, DenyRule((people[2], people[5]), ("ml.models.predict",)))
    for scope in (place.name, ORGANIZATION):
        listed = principals(place.access(scope=scope, resource=place.model, permissions=PREDICT))
        for person in people:
            body = {"permissions": [PREDICT]}
            held = place.api.done(person, "POST", f"/v1/{place.model}:testIamPermissions", body).get("permissions", [])
            assert (person in listed) == (PREDICT in held), person
        assert listed & set(people) == {people[0]}


def test_strangers_are_told_by_two_entries(place: Place) -> None:
    bob = place.person("bob")
    place.deny(place.name, DenyRule((bob,), ("ml.models.predict",)))
    for member, strangers in (
        ("allUsers", {"allAuthenticatedUsers", "anonymous"}),
        ("allAuthenticatedUsers", {"allAuthenticatedUsers"}),
    ):
        place.set(place.model, (USER, [member]))
        found = place.access(resource=place.model, permissions=PREDICT)
        assert principals(found) >= strangers | {OWNER}
        assert principals(found) & {"allAuthenticatedUsers", "anonymous", bob} == strangers
        everything = place.access(resource=place.model, permissions=PREDICT, includeIneffective="true")
        (bobs,) = [entry for entry in everything if entry["principal"] == bob]
        attached = f"cloudresourcemanager.googleapis.com%2Fprojects%2F{place.id}"
        denied = {"permission": PREDICT, "policy": f"policies/{attached}/denypolicies/no-way", "rule": 0}
        assert (bobs["state"], bobs["deniedPermissions"], bobs["member"]) == ("DENIED", [denied], member)


@pytest.mark.parametrize(
    ("expression", "state"),
    [("1 < 2", "ALLOWED"), ("2 < 1", "CONDITION_FALSE"), ("1 / 0 == 1", "CONDITION_UNKNOWN")],
)
def test_a_condition_is_judged(place: Place, expression: str, state: str) -> None:
    bob = place.person("bob")
    place.set(place.model, (USER, [bob], expression))
    (entry,) = place.access(principal=bob, resource=place.model, permissions=PREDICT, includeIneffective="true")
    assert entry["state"] == state
    assert bool(place.access(principal=bob, resource=place.model, permissions=PREDICT)) == (state == "ALLOWED")


def test_a_review_of_a_later_time_leaves_out_what_will_have_ended(place: Place) -> None:
    bob, cy = map(place.person, ("bob", "cy"))
    team = place.group("team", {cy: END})
    place.set(place.model, (USER, [bob], until(datetime.fromtimestamp(END, UTC))), (USER, [team]))
    for moment, expected in ((END - 1, {bob, cy}), (END, set())):
        at = format_timestamp(datetime.fromtimestamp(moment, UTC))
        found = place.access(resource=place.model, permissions=PREDICT, accessTime=at)
        assert principals(found) & {bob, cy} == expected
        for who in (bob, cy):
            mine = place.access(principal=who, permissions=PREDICT, accessTime=at)
            assert principals(mine) == expected & {who}


def test_a_project_that_is_being_deleted_gives_nobody_anything(place: Place) -> None:
    place.set(place.model, (USER, [place.person("bob")]))
    place.api.done(OWNER, "DELETE", place.path)
    found = place.access(scope=ORGANIZATION, resource=place.model, permissions=PREDICT, includeIneffective="true")
    assert {entry["state"] for entry in found} == {"DENIED"}
    assert {d["policy"].rpartition("/")[2] for e in found for d in e["deniedPermissions"]} == {
        "project-is-being-deleted"
    }


# ----------------------------------------------------------------------------------------- what can this person reach


def test_what_somebody_has_is_told_where_it_was_granted(place: Place) -> None:
    bob = place.person("bob")
    team = place.group("team", {bob: None})
    other = place.new_model("other")
    place.api.done(OWNER, "POST", "/storage/v1/b", {"name": f"b-{place.tag}"}, params={"project": place.id})
    bucket = place.api.done(OWNER, "GET", f"/storage/v1/b/b-{place.tag}/iam")
    bucket["bindings"] = [
        *bucket.get("bindings", []),
        {"role": "roles/storage.objectViewer", "members": [team]},
    ]
    place.api.done(OWNER, "PUT", f"/storage/v1/b/b-{place.tag}/iam", bucket)
    account = place.api.done(OWNER, "POST", f"{place.path}/serviceAccounts", {"accountId": f"robot-{place.tag}"})
    place.set(account["name"], ("roles/iam.serviceAccountUser", [bob]))
    place.set(place.model, (USER, [team]))
    found = place.access(principal=bob)
    assert [(e["resource"], e["role"], e.get("groupPath", [])) for e in found] == [
        (f"//storage.googleapis.com/projects/_/buckets/b-{place.tag}", "roles/storage.objectViewer", [team]),
        (f"{ML}/{place.model}", USER, [team]),
        (f"//iam.googleapis.com/{account['name']}", "roles/iam.serviceAccountUser", []),
    ]
    everywhere = place.access(principal=bob, scope=ORGANIZATION)
    assert found == [entry for entry in everywhere if place.tag in entry["resource"]]
    by_group = place.access(principal=team)
    assert [e["resource"] for e in by_group] == [found[0]["resource"], found[1]["resource"]]
    place.set(place.name, ("roles/ml.viewer", [bob]))
    roles = [(e["resource"], e["role"]) for e in place.access(principal=bob, permissions=READ)]
    assert roles == [(f"{MANAGER}/{place.name}", "roles/ml.viewer"), (f"{ML}/{place.model}", USER)]
    below = place.access(principal=bob, permissions=READ, expandResources="true")
    reached = {e["resource"] for e in below if e["role"] == "roles/ml.viewer"}
    assert reached >= {f"{MANAGER}/{place.name}", f"{ML}/{place.model}", f"{ML}/{other}"}
    assert [e["grantedOn"] for e in below if e["role"] == USER] == [f"{ML}/{place.model}"]


def test_grants_from_above_count_and_are_told_on_the_scope(place: Place) -> None:
    bob = place.person("bob")
    before = place.api.done(OWNER, "POST", f"/v1/{ORGANIZATION}:getIamPolicy", {})
    policy = {**before, "bindings": [*before["bindings"], {"role": "roles/ml.viewer", "members": [bob]}]}
    place.api.done(OWNER, "POST", f"/v1/{ORGANIZATION}:setIamPolicy", {"policy": policy})
    try:
        (entry,) = place.access(principal=bob)
        assert (entry["resource"], entry["grantedOn"]) == (f"{MANAGER}/{place.name}", f"{MANAGER}/{ORGANIZATION}")
        below = place.access(principal=bob, expandResources="true")
        assert {e["grantedOn"] for e in below} == {f"{MANAGER}/{ORGANIZATION}"}
        assert {f"{MANAGER}/{place.name}", f"{ML}/{place.model}"} <= {e["resource"] for e in below}
        (entry,) = (e for e in place.access(principal=bob, scope=ORGANIZATION) if e["role"] == "roles/ml.viewer")
        assert entry["resource"] == f"{MANAGER}/{ORGANIZATION}"
    finally:
        place.api.done(OWNER, "POST", f"/v1/{ORGANIZATION}:setIamPolicy", {"policy": {**before, "etag": ""}})


def test_a_folder_is_a_scope(place: Place) -> None:
    bob = place.person("bob")
    folder = f"folders/{uuid.uuid4().int % 10**12}"
    with writing(place.api.server) as tx:
        project = tx.fact("project", place.id)
        tx.set_fact("parent", folder, ORGANIZATION)
        tx.set_fact("project", place.id, {**project, "parent": folder})
    place.set(place.model, (USER, [bob]))
    found = place.access(scope=folder, principal=bob)
    assert [entry["resource"] for entry in found] == [f"{ML}/{place.model}"]
    assert place.access(scope=folder, principal=bob, expandResources="true") == found
    assert principals(place.access(scope=folder, resource=place.model, permissions=PREDICT)) >= {bob, OWNER}


# -------------------------------------------------------------------------------------------------------------- pages


def test_pages_hold_everything_once_in_order(place: Place) -> None:
    people = [place.person(f"p{n:02}") for n in range(12)]
    team = place.group("team", dict.fromkeys(people[:9]))
    models = [place.model, *(place.new_model(f"m{n}") for n in range(4))]
    for n, model in enumerate(models):
        place.set(model, (USER, [team, *people[n : n + 7]]), (MODEL_OWNER, people[::3]))
    for question in (
        {"resource": place.model, "permissions": PREDICT},
        {"resource": place.name, "permissions": PREDICT, "expandResources": "true"},
        {"principal": people[3]},
        {"permissions": "ml.models.delete"},
        {"roles": USER},
    ):
        whole = place.access(**question)
        assert len(whole) > 4
        for size in (1, 2, 7):
            if size > 1 or len(whole) < 40:
                assert place.access(**question, pageSize=size) == whole


def test_a_page_token_is_good_for_its_own_query_only(place: Place) -> None:
    url = f"{place.path}:listAccess"
    answer = place.api.done(OWNER, "GET", url, params={"permissions": READ, "resource": place.model, "pageSize": 1})
    assert answer["nextPageToken"]
    token = answer["nextPageToken"]
    for changed in ({"permissions": PREDICT, "resource": place.model}, {"permissions": READ}):
        refused = place.api(OWNER, "GET", url, params={**changed, "pageToken": token})
        assert error_of(refused)["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "inside",
    ["", "x", "[]", "[1, 2, 3, 4, 5]", '["a"]', "null", '{"a": 1}', "[" * 5000,
     r'["projects/p\u0000", "", "", "", ""]', r'["projects/p\ud800", "", "", "", ""]'],
)  # fmt: skip
def test_a_token_that_was_made_up_is_refused(place: Place, inside: str) -> None:
    from mlgate.api.review import Query

    mark = (OWNER, "mlgate.access.list", repr(Query(scope=place.name)))
    answer = place.api(OWNER, "GET", f"{place.path}:listAccess", params={"pageToken": page_token(inside, *mark)})
    assert error_of(answer)["status"] == "INVALID_ARGUMENT"


def test_a_page_looks_at_so_many_resources_and_no_more(place: Place) -> None:
    from mlgate.core.iam.policy import Binding, Policy

    bob = place.person("bob")
    with writing(place.api.server) as tx:
        for n in range(1300):
            role = MODEL_OWNER if n == 1200 else USER
            tx.set_policy(f"{place.name}/models/x{n:04}", Policy((Binding(role, (bob,)),)))
    params = {"roles": MODEL_OWNER}
    url = f"{place.path}:listAccess"
    first = place.api.done(OWNER, "GET", url, params=params)
    assert [e["resource"] for e in first["access"]] == [f"{ML}/{place.model}"]
    second = place.api.done(OWNER, "GET", url, params={**params, "pageToken": first["nextPageToken"]})
    assert [e["resource"] for e in second["access"]] == [f"{ML}/{place.name}/models/x1200"]
    assert "nextPageToken" not in second


# ---------------------------------------------------------------------------------------------- who may ask, and what


def test_reviewing_needs_one_permission_on_the_scope_and_no_other(place: Place) -> None:
    bob = place.person("bob")
    for method in ("listAccess", "analyzeIamPolicy"):
        url = f"{place.path}:{method}"
        params = {"resource": place.model} if method == "listAccess" else {
            "analysisQuery.resourceSelector.fullResourceName": f"{ML}/{place.model}"
        }  # fmt: skip
        place.set(place.name, ("roles/ml.admin", [bob]))
        assert "cloudasset.assets.analyzeIamPolicy" in error_of(place.api(bob, "GET", url, params=params))["message"]
        place.set(place.name, ("roles/cloudasset.viewer", [bob]))
        assert place.api(bob, "GET", url, params=params).status_code == 200
        assert place.api(bob, "POST", f"{place.path}:getIamPolicy", {}).status_code == 403
        assert place.api(bob, "GET", f"/v1/{ORGANIZATION}:{method}", params=params).status_code == 403


def test_what_is_outside_the_scope_is_refused_whether_or_not_it_exists(place: Place) -> None:
    bob = place.person("bob")
    place.set(place.name, ("roles/cloudasset.viewer", [bob]))
    other = Place(place.api)
    texts = set()
    for name in (other.model, f"{other.name}/models/none", "projects/nowhere-at-all/models/m", other.name, "buckets/x"):
        for shown in (name, f"{ML}/{name}"):
            error = error_of(place.api(bob, "GET", f"{place.path}:listAccess", params={"resource": shown}))
            assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
            texts.add(error["message"].replace(shown, "X"))
    assert len(texts) == 1
    missing = place.api(bob, "GET", f"{place.path}:listAccess", params={"resource": f"{place.name}/models/none"})
    assert error_of(missing)["code"] == 404


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"permissions": "ml.models.fly"}, "ml.models.fly"),
        ({"permissions": "ml.models.*"}, "ml.models.*"),
        ({"roles": "roles/no.such"}, "roles/no.such"),
        ({"principal": "bob"}, "bob"),
        ({"principal": "domain:example.com"}, "domain:example.com"),
        ({"principal": "user:x"}, "user:x"),
        ({"resource": "//x"}, "//x"),
        ({"accessTime": "2001-01-01T00:00:00Z"}, "has passed"),
        ({"accessTime": "soon"}, "soon"),
        ({"permissions": [PREDICT] * 11}, "at most 10"),
        ({"resource": "projects/p\x00"}, "no text may hold"),
        ({"pageSize": "-1"}, "negative"),
    ],
)
def test_a_question_that_cannot_be_is_refused_with_the_reason(place: Place, params: Any, named: str) -> None:
    error = error_of(place.api(OWNER, "GET", f"{place.path}:listAccess", params=params))
    assert (error["code"], named in error["message"]) == (400, True), error


# ------------------------------------------------------------------------------------------------ Cloud Asset's shape


def test_an_analysis_tells_each_binding_and_what_it_gives(place: Place) -> None:
    bob, cy = map(place.person, ("bob", "cy"))
    team = place.group("team", {bob: None, cy: END})
    place.set(place.model, (USER, [team, bob], "1 < 2"))
    selected = {
        "resourceSelector__fullResourceName": f"{ML}/{place.model}",
        "accessSelector__permissions": [PREDICT, READ],
    }
    answer = place.analysis(**selected)
    assert answer["fullyExplored"] is answer["mainAnalysis"]["fullyExplored"] is True
    assert answer["mainAnalysis"]["analysisQuery"] == {
        "scope": place.name,
        "resourceSelector": {"fullResourceName": f"{ML}/{place.model}"},
        "accessSelector": {"permissions": [PREDICT, READ]},
    }
    (result,) = (r for r in answer["mainAnalysis"]["analysisResults"] if r["iamBinding"]["role"] == USER)
    assert result == {
        "attachedResourceFullName": f"{ML}/{place.model}",
        "iamBinding": {"role": USER, "members": [team, bob], "condition": {"title": "t", "expression": "1 < 2"}},
        "accessControlLists": [
            {
                "resources": [{"fullResourceName": f"{ML}/{place.model}"}],
                "accesses": [{"permission": PREDICT}, {"permission": READ}],
                "conditionEvaluation": {"evaluationValue": "TRUE"},
            }
        ],
        "identityList": {"identities": [{"name": team}, {"name": bob}]},
        "fullyExplored": True,
    }
    place.set(place.model, (USER, [team, "allUsers"]))
    (unexpanded,) = (
        r for r in place.analysis(**selected)["mainAnalysis"]["analysisResults"] if r["iamBinding"]["role"] == USER
    )
    assert unexpanded["identityList"] == {"identities": [{"name": "allUsers"}, {"name": team}]}
    place.set(place.model, (USER, [team]))
    expanded = place.analysis(**selected, options__expandGroups=True, options__outputGroupEdges=True)
    (result,) = (r for r in expanded["mainAnalysis"]["analysisResults"] if r["iamBinding"]["role"] == USER)
    assert result["identityList"] == {
        "identities": [{"name": bob}, {"name": cy, "expireTime": format_timestamp(datetime.fromtimestamp(END, UTC))}],
        "groupEdges": [{"sourceNode": team, "targetNode": bob}, {"sourceNode": team, "targetNode": cy}],
    }


def test_an_analysis_leaves_out_what_is_denied(place: Place) -> None:
    bob, cy, dan = map(place.person, ("bob", "cy", "dan"))
    place.set(place.model, (USER, [bob, cy, dan]))
    place.deny(place.name, DenyRule((cy,), ("ml.models.predict",)), DenyRule((dan,), ("ml.*.*",)))
    answer = place.analysis(resourceSelector__fullResourceName=f"{ML}/{place.model}")
    mine = [r for r in answer["mainAnalysis"]["analysisResults"] if r["iamBinding"]["role"] == USER]
    told = {
        identity["name"]: {tuple(access.items()) for access in result["accessControlLists"][0]["accesses"]}
        for result in mine
        for identity in result["identityList"]["identities"]
    }
    rest = ("ml.models.get", "ml.versions.get", "ml.versions.list", "ml.versions.predict")
    assert told == {bob: {(("role", USER),)}, cy: {(("permission", p),) for p in rest}}


def test_an_analysis_of_an_identity_expands_resources_and_tells_their_edges(place: Place) -> None:
    bob = place.person("bob")
    place.set(place.name, ("roles/ml.viewer", [bob]))
    answer = place.analysis(
        identitySelector__identity=bob,
        accessSelector__roles="roles/ml.viewer",
        options__expandResources=True,
        options__outputResourceEdges=True,
    )
    lists = [r["accessControlLists"][0] for r in answer["mainAnalysis"]["analysisResults"]]
    assert all(acl["accesses"] == [{"role": "roles/ml.viewer"}] for acl in lists)
    by_resource = {acl["resources"][0]["fullResourceName"]: acl.get("resourceEdges", []) for acl in lists}
    edge = {"sourceNode": f"{MANAGER}/{place.name}", "targetNode": f"{ML}/{place.model}"}
    assert by_resource[f"{MANAGER}/{place.name}"] == []
    assert by_resource[f"{ML}/{place.model}"] == [edge]


@pytest.mark.parametrize(
    ("params", "code", "named"),
    [
        ({}, 400, "select a resource"),
        ({"identitySelector.identity": OWNER, "options.expandGroups": "true"}, 400, "expandGroups"),
        ({"accessSelector.roles": USER, "options.expandRoles": "true"}, 400, "expandRoles"),
        ({"identitySelector.identity": OWNER, "options.analyzeServiceAccountImpersonation": "true"}, 501, "analyzeS"),
        ({"resourceSelector.fullResourceName": f"{ML}/projects/other/models/m"}, 400, "not in"),
        ({"conditionContext.accessTime": "never", "identitySelector.identity": OWNER}, 400, "accessTime"),
    ],
)
def test_an_analysis_that_cannot_be_is_refused(place: Place, params: Any, code: int, named: str) -> None:
    given = {f"analysisQuery.{name}": value for name, value in params.items()}
    error = error_of(place.api(OWNER, "GET", f"{place.path}:analyzeIamPolicy", params=given))
    assert (error["code"], named in error["message"]) == (code, True), error


def test_googles_client_analyzes(place: Place) -> None:
    bob = place.person("bob")
    place.set(place.model, (USER, [bob]))
    answer = (
        place.api.server.api("cloudasset")
        .v1()
        .analyzeIamPolicy(
            scope=place.name,
            analysisQuery_resourceSelector_fullResourceName=f"{ML}/{place.model}",
            analysisQuery_accessSelector_permissions=[PREDICT, "ml.models.delete"],
        )
        .execute()
    )
    found = {
        identity["name"]: [access["permission"] for access in result["accessControlLists"][0]["accesses"]]
        for result in answer["mainAnalysis"]["analysisResults"]
        for identity in result["identityList"]["identities"]
    }
    assert found[bob] == [PREDICT]
    assert sorted(found[OWNER]) == ["ml.models.delete", PREDICT]


_OURS = {"pageSize", "pageToken"}
_OUR_FIELDS = {"GoogleCloudAssetV1Identity": {"expireTime"}, "AnalyzeIamPolicyResponse": {"nextPageToken"}}


def test_the_analysis_is_googles_method_but_for_what_is_documented() -> None:
    ours, method_id = discovery.document(registry(), "cloudasset", "http://127.0.0.1:1"), "cloudasset.analyzeIamPolicy"
    mine, theirs = contract(methods(ours)[method_id]), contract(methods(google("cloudasset"))[method_id])
    for parameter in theirs["parameters"].values():
        parameter.pop("format", None)  # rows do not tell the formats of strings
    assert {**mine, "parameters": {k: v for k, v in mine["parameters"].items() if k not in _OURS}} == theirs
    assert set(mine["parameters"]) - set(theirs["parameters"]) == _OURS
    shared = {"GoogleIamV1__Binding": "Binding", "GoogleType__Expr": "Expr"}
    for schema in ours["schemas"]:
        known = fields(google("cloudasset"), shared.get(schema, schema))
        for name, field in fields(ours, schema).items():
            assert field == known.get(name) or name in _OUR_FIELDS.get(schema, ()), (schema, name)
    with build_from_document(ours, http=_NoHttp()) as client:
        assert client.v1()


# --------------------------------------------------------------------------------------------------- models to be used


def test_a_search_finds_the_models_that_the_caller_may_use(place: Place) -> None:
    bob, cy = map(place.person, ("bob", "cy"))
    team = place.group("team", {bob: None})
    models = [place.new_model(f"x{n}") for n in range(5)]
    predict_only = place.api.done(
        OWNER, "POST", f"{place.path}/roles",
        {"roleId": "only", "role": {"title": "t", "stage": "GA", "includedPermissions": [PREDICT]}},
    )["name"]  # fmt: skip
    place.set(models[1], (USER, [bob]))
    place.set(models[3], (USER, [team]))
    place.set(models[4], (predict_only, [bob]))
    url = f"{place.path}/models:search"

    def names(who: str, **params: Any) -> list[str]:
        found: list[str] = []
        while True:
            answer = place.api.done(who, "GET", url, params=params)
            found += [model["name"] for model in answer.get("models", [])]
            if not answer.get("nextPageToken"):
                return found
            params["pageToken"] = answer["nextPageToken"]

    assert names(bob) == [models[1], models[3]]
    assert (
        names(bob, permission=PREDICT) == names(bob, permission=PREDICT, pageSize=1) == [models[n] for n in (1, 3, 4)]
    )
    shown = place.api.done(bob, "GET", url, params={"permission": PREDICT})["models"]
    assert [set(model) == {"name"} for model in shown] == [False, False, True]
    assert names(cy) == names(bob, permission="ml.models.delete") == []
    assert names(OWNER, pageSize=2) == sorted([place.model, *models])
    place.deny(place.name, DenyRule((team,), ("ml.models.get",)))
    assert names(bob) == []
    assert place.api(bob, "GET", f"{place.path}/models").status_code == 403
    assert place.api.done(bob, "GET", "/v1/projects/nowhere-at-all/models:search") == {}
    assert error_of(place.api(bob, "GET", url, params={"permission": "ml.models.fly"}))["code"] == 400
    assert place.api("", "GET", url).status_code == 401


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


def test_the_two_questions_are_asked_on_the_command_line(ada: CommandLine, place: Place) -> None:
    bob, cy = map(place.person, ("bob", "cy"))
    inner = place.group("inner", {bob: None})
    team = place.group("team", {inner: None})
    place.set(place.model, (USER, [team]), (USER, [cy], "2 < 1"))
    table = ada.ok("iam", "who-can", PREDICT, place.model).stdout.splitlines()
    assert table[0].split()[:4] == ["PRINCIPAL", "RESOURCE", "ROLE", "GRANTED_ON"]
    (line,) = [line for line in table if line.startswith(bob)]
    assert f"{team} > {inner}" in line
    assert not any(line.startswith(cy) for line in table)
    everything = ada.ok("iam", "who-can", PREDICT, f"{ML}/{place.model}", "--all", "--format", "json").json
    assert {e["principal"]: e["state"] for e in everything}[cy] == "CONDITION_FALSE"
    mine = ada.ok("iam", "what-can", bob, "--in", place.name, "--format=json").json
    assert [(e["resource"], e["via"]) for e in mine] == [(f"{ML}/{place.model}", f"{team} > {inner}")]
    assert ada.ok("iam", "what-can", bob, "--project", place.id, "--format=json").json == mine
    exported = CommandLine(ada.server, ada.home, AUDITOR).ok(
        "iam", "what-can", bob, "--in", "organizations/1", "--permissions", f"{PREDICT},{READ}", "--format=csv"
    )
    rows = [row for row in csv.DictReader(exported.stdout.splitlines()) if place.tag in row["resource"]]
    assert [(row["principal"], row["resource"], row["via"]) for row in rows] == [
        (bob, f"{ML}/{place.model}", f"{team} > {inner}")
    ]
    assert "ml.models.fly" in ada.fails("iam", "who-can", "ml.models.fly", place.model)
    assert ada.ok("models", "search", "--project", place.id).stdout.splitlines()[1].split() == ["m"]


def test_every_page_is_fetched(ada: CommandLine, place: Place) -> None:
    people = [place.person(f"p{n:04}") for n in range(1203)]
    team = place.group("team", dict.fromkeys(people))
    place.set(place.model, (USER, [team]))
    found = ada.ok("iam", "who-can", PREDICT, place.model, "--format=value(principal)").stdout.splitlines()
    assert set(people) <= set(found)
    assert len(found) == len(set(found))
    words = ("--full-resource-name", f"{ML}/{place.model}", "--permissions", PREDICT, "--expand-groups")
    answer = ada.ok("asset", "analyze-iam-policy", "--project", place.id, *words, "--format", "json").json
    assert answer["fullyExplored"] is True
    listed = [i["name"] for r in answer["mainAnalysis"]["analysisResults"] for i in r["identityList"]["identities"]]
    assert sorted(listed) == sorted(found)
    assert len(ada.ok("iam", "who-can", PREDICT, place.model, "--limit=3", "--format=json").json) == 3


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('=HYPERLINK("x")', '"\'=HYPERLINK(""x"")"'),
        ("+1+1", "'+1+1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("a,b", '"a,b"'),
        ("two\nlines", "two\\nlines"),
        ("\t=1", "\\x09=1"),
        (-0.5, "-0.5"),
        ("plain", "plain"),
    ],
)
def test_a_cell_is_never_a_formula(capsys: pytest.CaptureFixture[str], text: Any, cell: str) -> None:
    output.show([{"name": text, "other": "x"}], "csv(name,other)")
    assert capsys.readouterr().out == f"name,other\n{cell},x\n"
