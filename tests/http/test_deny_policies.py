"""Deny policies over HTTP, by Google's client and on the command line: what they deny, whom, from which moment, and
what they may not hold.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from googleapiclient.errors import HttpError

from mlgate.api import discovery
from mlgate.api.handlers import deny_policies
from mlgate.api.methods import registry
from mlgate.core.iam import v2
from mlgate.core.iam.permissions import ALL
from tests.command_line import CommandLine
from tests.contract.test_discovery import contract, google, methods
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing

BOB, EVE = "user:bob@example.com", "user:eve@example.com"
EVERYBODY = "principalSet://goog/public:all"
GET, PREDICT = "ml.googleapis.com/models.get", "ml.googleapis.com/models.predict"
HOST = "cloudresourcemanager.googleapis.com/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of these tests' own: what they deny on the organization would hold for everybody's."""
    made = Server(tmp_path_factory.mktemp("deny") / "data").initialize().start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        policy = made.done(OWNER, "POST", "/v1/organizations/1:getIamPolicy")
        roles = ("roles/iam.denyAdmin", "roles/resourcemanager.folderAdmin", "roles/cloudidentity.groupsAdmin")
        policy["bindings"] += [{"role": role, "members": [OWNER]} for role in roles]
        made.done(OWNER, "POST", "/v1/organizations/1:setIamPolicy", {"policy": policy})
        made.sign_in([OWNER, BOB, EVE])
        yield made


@pytest.fixture
def project(api: Api) -> str:
    """The id of a project in which Bob is Viewer, with a model `m`."""
    return new_project(api)


def new_project(api: Api, **more: Any) -> str:
    project = f"deny-{uuid.uuid4().hex[:12]}"
    api.done(OWNER, "POST", "/v1/projects", {"projectId": project, **more})
    api.bind(f"/v1/projects/{project}", {"roles/ml.viewer": [BOB]})
    api.done(OWNER, "POST", f"/v1/projects/{project}/models", {"name": "m"})
    return project


def policies(place: str) -> str:
    return f"/v2/policies/{quote(HOST + place, safe='')}/denypolicies"


def rule(principals: list[str], permissions: list[str], **more: Any) -> dict[str, Any]:
    return {"denyRule": {"deniedPrincipals": principals, "deniedPermissions": permissions, **more}}


def person(principal: str) -> str:
    return f"principal://goog/subject/{principal.partition(':')[2]}"


def denied(api: Api, place: str, *rules: dict[str, Any], policy_id: str = "") -> dict[str, Any]:
    """A new deny policy."""
    params = {"policyId": policy_id or f"d{uuid.uuid4().hex[:12]}"}
    operation = api.done(OWNER, "POST", policies(place), {"rules": list(rules)}, params=params)
    return {field: value for field, value in operation["response"].items() if field != "@type"}


def reads(api: Api, project: str, who: str = BOB) -> int:
    """The status of reading the model."""
    return api(who, "GET", f"/v1/projects/{project}/models/m").status_code


# ------------------------------------------------------------------------------------------------------ what is denied


def test_a_rule_of_the_project_outweighs_every_role_and_its_end_is_at_once(api: Api, project: str) -> None:
    assert (reads(api, project), reads(api, project, OWNER)) == (200, 200)
    made = denied(api, f"projects/{project}", rule([EVERYBODY], [GET]))
    assert (reads(api, project), reads(api, project, OWNER)) == (403, 403)
    assert api(BOB, "GET", f"/v1/projects/{project}/models").status_code == 200, "only what is named"
    api.done(OWNER, "DELETE", f"/v2/{made['name']}")
    assert (reads(api, project), reads(api, project, OWNER)) == (200, 200)


def test_a_rule_of_the_organization_holds_in_every_project(api: Api, project: str) -> None:
    other = new_project(api)
    made = denied(api, "organizations/1", rule([person(BOB)], [GET]))
    assert (reads(api, project), reads(api, other), reads(api, project, OWNER)) == (403, 403, 200)
    api.done(OWNER, "DELETE", f"/v2/{made['name']}")
    assert (reads(api, project), reads(api, other)) == (200, 200)


def test_a_rule_of_a_folder_holds_for_the_projects_in_it(api: Api, project: str) -> None:
    body = {"parent": "organizations/1", "displayName": f"f {uuid.uuid4().hex[:12]}"}
    folder = api.done(OWNER, "POST", "/v3/folders", body)["response"]["name"]
    inside = new_project(api, parent={"type": "folder", "id": folder.partition("/")[2]})
    made = denied(api, folder, rule([person(BOB)], [GET]))
    assert made["name"].startswith(f"policies/{quote(HOST + folder, safe='')}/denypolicies/")
    assert (reads(api, inside), reads(api, project)) == (403, 200)


def test_an_exception_frees_one_person_of_a_denied_group(api: Api, project: str) -> None:
    group = f"g{uuid.uuid4().hex[:12]}@example.com"
    with writing(api.server) as tx:  # what the membership API writes; it is tested by itself
        tx.set_fact("group", f"group:{group}", {BOB: None, OWNER: None})
    made = denied(
        api,
        f"projects/{project}",
        rule([f"principalSet://goog/group/{group}"], [GET], exceptionPrincipals=[person(OWNER)]),
    )
    assert (reads(api, project), reads(api, project, OWNER)) == (403, 200)
    with writing(api.server) as tx:
        tx.set_fact("group", f"group:{group}", {OWNER: None})
    assert reads(api, project) == 200
    assert made["rules"][0]["denyRule"]["exceptionPrincipals"] == [person(OWNER)]


def test_wildcards_deny_what_they_cover_but_for_exceptions(api: Api, project: str) -> None:
    path = f"/v1/projects/{project}"
    denied(api, f"projects/{project}", rule([EVERYBODY], ["ml.googleapis.com/*.list"]))
    assert api(BOB, "GET", f"{path}/models").status_code == 403
    assert api(BOB, "GET", f"{path}/models/m/versions").status_code == 403
    assert reads(api, project) == 200
    everything = rule([EVERYBODY], ["ml.googleapis.com/*.*"], exceptionPermissions=["ml.googleapis.com/projects.*"])
    denied(api, f"projects/{project}", everything)
    assert reads(api, project, OWNER) == 403
    assert api(OWNER, "GET", f"{path}:getConfig").status_code == 200


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("request.time < timestamp('2999-01-01T00:00:00Z')", 403),
        ("request.time < timestamp('2001-01-01T00:00:00Z')", 200),
        ("resource.name.endsWith('/models/m')", 403),
        ("resource.name.endsWith('/models/other')", 200),
        ("request.time.getHours('No/Such/Zone') > 0", 403),
    ],
    ids=["true", "over", "this model", "another model", "fails"],
)
def test_a_condition_that_is_not_false_denies(api: Api, project: str, expression: str, status: int) -> None:
    condition = {"title": "t", "expression": expression}
    denied(api, f"projects/{project}", rule([person(BOB)], [GET], denialCondition=condition))
    assert reads(api, project) == status


def test_each_change_counts_from_its_answer_on(api: Api, project: str) -> None:
    name = denied(api, f"projects/{project}", rule([person(BOB)], [GET]))["name"]
    for principal, status in ((EVE, 200), (BOB, 403)) * 10:
        api.done(OWNER, "PUT", f"/v2/{name}", {"rules": [rule([person(principal)], [GET])]})
        assert reads(api, project) == status


def test_a_call_without_a_token_is_denied_to_everybody_too(api: Api, project: str) -> None:
    path = f"/v1/projects/{project}/models/m"
    api.bind(path, {"roles/ml.modelUser": ["allUsers"]})
    assert api("", "GET", path).status_code == 200
    denied(api, f"projects/{project}", rule([EVERYBODY], [GET], exceptionPrincipals=[person(BOB)]))
    assert api("", "GET", path).status_code == 401
    assert reads(api, project) == 200


# ------------------------------------------------------------------------------------------------------- no lock-out


@pytest.mark.parametrize("place", ["project", "organization"])
def test_whoever_manages_deny_policies_can_always_take_one_away(api: Api, project: str, place: str) -> None:
    services = sorted({permission.partition(".")[0] for permission in ALL})
    everything = [v2.permission_of(f"{service}.*.*") for service in services]
    where = f"projects/{project}" if place == "project" else "organizations/1"
    made = denied(api, where, rule([EVERYBODY], everything))
    assert reads(api, project, OWNER) == 403
    assert api(OWNER, "POST", f"/v1/projects/{project}:getIamPolicy").status_code == 403
    assert made["name"] in [p["name"] for p in api.done(OWNER, "GET", policies(where))["policies"]]
    assert api.done(OWNER, "GET", f"/v2/{made['name']}") == made
    api.done(OWNER, "PUT", f"/v2/{made['name']}", {"rules": [rule([EVERYBODY], everything)]})
    api.done(OWNER, "DELETE", f"/v2/{made['name']}")
    assert reads(api, project, OWNER) == 200


@pytest.mark.parametrize("verb", ["delete", "get", "*"])
def test_the_permissions_of_deny_policies_cannot_be_named(api: Api, project: str, verb: str) -> None:
    body = {"rules": [rule([EVERYBODY], [GET, f"iam.googleapis.com/denypolicies.{verb}"])]}
    error = error_of(api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "abc"}))
    assert error["status"] == "INVALID_ARGUMENT"
    assert "cannot be denied" in error["message"]
    assert "rules[0].denyRule.deniedPermissions[1]" in json.dumps(error["details"])


# ---------------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize("who", [BOB, EVE])
def test_without_the_role_every_method_is_denied_alike_whether_there_is_something_or_not(
    api: Api, project: str, who: str
) -> None:
    made = denied(api, f"projects/{project}", rule([person("user:nobody@example.com")], [GET]))
    absent = policies("projects/no-such-project")
    for http, path, permission in (
        ("POST", policies(f"projects/{project}"), "create"), ("GET", policies(f"projects/{project}"), "list"),
        ("GET", f"/v2/{made['name']}", "get"), ("PUT", f"/v2/{made['name']}", "update"),
        ("DELETE", f"/v2/{made['name']}", "delete"), ("GET", f"/v2/{made['name']}/operations/1", "get"),
        ("GET", f"/v2/{made['name']}-not", "get"), ("GET", absent, "list"), ("GET", f"{absent}/abc", "get"),
        ("GET", "/v2/policies/nothing/denypolicies", "list"),
        ("GET", "/v2/policies/ml.googleapis.com%2Fprojects%2Fp/denypolicies", "list"),
        ("GET", f"{policies('projects/p%00')}?attachmentPoint=projects/{project}", "list"),
    ):  # fmt: skip
        error = error_of(api(who, http, path, {"nonsense": 1} if http in ("POST", "PUT") else None))
        assert (error["status"], f"iam.denypolicies.{permission}" in error["message"]) == ("PERMISSION_DENIED", True)


def test_the_owner_of_a_project_does_not_manage_deny_policies_and_a_reviewer_only_reads(api: Api) -> None:
    body = {"projectId": f"deny-{uuid.uuid4().hex[:12]}"}
    place = f"projects/{body['projectId']}"
    api.done(OWNER, "POST", "/v1/projects", body)
    api.bind(f"/v1/{place}", {"roles/owner": [OWNER, BOB]})
    assert api(BOB, "GET", policies(place)).status_code == 403
    policy = api.done(OWNER, "POST", "/v1/organizations/1:getIamPolicy")
    reviewed = [*policy["bindings"], {"role": "roles/iam.denyReviewer", "members": [EVE]}]
    api.done(OWNER, "POST", "/v1/organizations/1:setIamPolicy", {"policy": {**policy, "bindings": reviewed}})
    made = denied(api, place, rule([person(BOB)], [GET]))
    assert api.done(EVE, "GET", f"/v2/{made['name']}") == made
    assert api(EVE, "DELETE", f"/v2/{made['name']}").status_code == 403
    assert api(EVE, "POST", policies(place), {}, params={"policyId": "abc"}).status_code == 403


# ------------------------------------------------------------------------------------------------- names and resources


def test_a_policy_is_what_was_written_in_canonical_form(api: Api, project: str) -> None:
    given = rule(["principal://goog/subject/BOB@Example.com", person(BOB)], [GET, GET, PREDICT])
    body = {
        "displayName": "No reading", "annotations": {"ticket": "17"}, "etag": "ignored", "kind": "ignored",
        "rules": [{"description": "for now", **given}],
    }  # fmt: skip
    operation = api.done(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "no-reading.1"})
    made = operation["response"]
    number = api.done(OWNER, "GET", f"/v1/projects/{project}")["projectNumber"]
    encoded = f"cloudresourcemanager.googleapis.com%2Fprojects%2F{number}"
    assert made["name"] == f"policies/{encoded}/denypolicies/no-reading.1"
    assert made["rules"] == [{"description": "for now", **rule([person(BOB)], [GET, PREDICT])}]
    assert (made["displayName"], made["annotations"], made["kind"]) == ("No reading", {"ticket": "17"}, "DenyPolicy")
    assert made["uid"]
    assert made["etag"] != "ignored"
    assert made["createTime"] == made["updateTime"]
    assert operation["name"].startswith(f"{made['name']}/operations/")
    assert operation["done"] is True
    assert api.done(OWNER, "GET", f"/v2/{operation['name']}") == operation
    assert {
        "@type": "type.googleapis.com/google.iam.v2.Policy",
        **api.done(OWNER, "GET", f"/v2/{made['name']}"),
    } == made
    again = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "no-reading.1"})
    assert error_of(again)["status"] == "ALREADY_EXISTS"


def test_a_place_is_named_by_id_or_number_encoded_once_or_twice(api: Api, project: str) -> None:
    made = denied(api, f"projects/{project}", rule([person(BOB)], [GET]), policy_id="abc")
    number = api.done(OWNER, "GET", f"/v1/projects/{project}")["projectNumber"]
    for name in (project, number):
        once = quote(f"{HOST}projects/{name}", safe="")
        for encoded in (once, once.lower(), quote(once, safe="")):
            assert api.done(OWNER, "GET", f"/v2/policies/{encoded}/denypolicies/abc") == made
            assert len(api.done(OWNER, "GET", f"/v2/policies/{encoded}/denypolicies")["policies"]) == 1
    assert api(OWNER, "GET", f"/v2/policies/{HOST}projects/{project}/denypolicies/abc").status_code == 404


def test_a_list_tells_what_is_attached_without_the_rules_and_in_pages(api: Api, project: str) -> None:
    made = [denied(api, f"projects/{project}", rule([person(BOB)], [GET]), policy_id=f"d-{n}") for n in range(3)]
    listed = api.done(OWNER, "GET", policies(f"projects/{project}"))
    assert listed == {"policies": [{k: v for k, v in p.items() if k != "rules"} for p in made]}
    first = api.done(OWNER, "GET", policies(f"projects/{project}"), params={"pageSize": 2})
    rest = api.done(OWNER, "GET", policies(f"projects/{project}"), params={"pageToken": first["nextPageToken"]})
    assert first["policies"] + rest["policies"] == listed["policies"]


def test_an_update_replaces_and_two_editors_do_not_overwrite_each_other(api: Api, project: str) -> None:
    made = denied(api, f"projects/{project}", rule([person(BOB)], [GET]), rule([person(EVE)], [PREDICT]))
    edit = {**made, "displayName": "one", "rules": made["rules"][:1]}
    updated = api.done(OWNER, "PUT", f"/v2/{made['name']}", edit)["response"]
    assert (updated["displayName"], updated["rules"]) == ("one", made["rules"][:1])
    assert (updated["uid"], updated["createTime"]) == (made["uid"], made["createTime"])
    assert updated["etag"] != made["etag"]
    stale = api(OWNER, "PUT", f"/v2/{made['name']}", edit)
    assert (stale.status_code, error_of(stale)["status"]) == (409, "ABORTED")
    stale = api(OWNER, "DELETE", f"/v2/{made['name']}", params={"etag": made["etag"]})
    assert (stale.status_code, error_of(stale)["status"]) == (409, "ABORTED")
    blind = api.done(OWNER, "PUT", f"/v2/{made['name']}", {"rules": made["rules"]})["response"]
    assert "displayName" not in blind, "what is not given is not kept"
    gone = api.done(OWNER, "DELETE", f"/v2/{made['name']}", params={"etag": blind["etag"]})
    assert gone["response"]["deleteTime"]
    assert api.done(OWNER, "GET", f"/v2/{gone['name']}") == gone
    for http in ("GET", "DELETE"):
        assert api(OWNER, http, f"/v2/{made['name']}").status_code == 404


@pytest.mark.parametrize(
    ("policy_id", "is_valid"),
    [("abc", True), ("a-b.c9", True), ("a" * 63, True), ("ab", False), ("a" * 64, False), ("Abc", False),
     ("9abc", False), ("a_bc", False), ("a..b", False), ("", False)],
)  # fmt: skip
def test_an_id_is_of_googles_form(api: Api, project: str, policy_id: str, is_valid: bool) -> None:
    body = {"rules": [rule([person(BOB)], [GET])]}
    answer = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": policy_id})
    assert answer.status_code == (200 if is_valid else 400)
    if is_valid:
        assert api(OWNER, "GET", f"/v2/{answer.json()['response']['name']}").status_code == 200


# ----------------------------------------------------------------------------------------------------------- refusals

PRINCIPALS = {
    "user:ada@example.com": "principal://goog/subject/ada@example.com",
    "serviceAccount:x@y.iam.gserviceaccount.com":
        "principal://iam.googleapis.com/projects/-/serviceAccounts/x@y.iam.gserviceaccount.com",
    "group:team@example.com": "principalSet://goog/group/team@example.com",
    "allUsers": "principalSet://goog/public:all",
    "deleted:user:ada@example.com?uid=7": "deleted:principal://goog/subject/ada@example.com?uid=7",
    "deleted:group:team@example.com?uid=7": "deleted:principalSet://goog/group/team@example.com?uid=7",
    "deleted:serviceAccount:x@y.iam.gserviceaccount.com?uid=7":
        "deleted:principal://iam.googleapis.com/projects/-/serviceAccounts/x@y.iam.gserviceaccount.com?uid=7",
}  # fmt: skip


@pytest.mark.parametrize(("member", "principal"), PRINCIPALS.items())
def test_principals_are_members_in_another_form(member: str, principal: str) -> None:
    assert v2.parse_principal(principal, "f") == member
    assert v2.principal_of(member) == principal


@pytest.mark.parametrize("permission", ALL)
def test_every_permission_has_a_form_of_v2(permission: str) -> None:
    assert v2.parse_pattern(v2.permission_of(permission), "f") == permission


BAD_RULES = {
    "no principal": (rule([], [GET]), "at least one principal"),
    "no permission": (rule([person(BOB)], []), "at least one permission"),
    "no rule": ({"description": "x"}, "at least one principal"),
    "member of v1": (rule([BOB], [GET]), person(BOB)),
    "no address": (rule(["principal://goog/subject/bob"], [GET]), "principal://goog/subject/bob"),
    "workforce": (
        rule(["principal://iam.googleapis.com/locations/global/workforcePools/p/subject/s"], [GET]), "no pools",
    ),
    "customer": (rule(["principalSet://goog/cloudIdentityCustomerId/C01"], [GET]), "customers"),
    "signed in": (rule(["allAuthenticatedUsers"], [GET]), "allAuthenticatedUsers"),
    "permission of v1": (rule([EVERYBODY], ["ml.models.get"]), "Did you mean ml.googleapis.com/models.get?"),
    "unknown permission": (rule([EVERYBODY], ["ml.googleapis.com/models.fly"]), "models.fly"),
    "unknown service": (rule([EVERYBODY], ["compute.googleapis.com/*.*"]), "compute"),
    "host of v1": (rule([EVERYBODY], ["resourcemanager.googleapis.com/projects.get"]), "resourcemanager"),
    "half a wildcard": (rule([EVERYBODY], ["ml.googleapis.com/models.get*"]), "whole"),
    "any service": (rule([EVERYBODY], ["*/*.*"]), "names no permission"),
    "bad exception": (rule([EVERYBODY], [GET], exceptionPermissions=["ml.googleapis.com/x.y"]), "x.y"),
    "bad excepted": (rule([EVERYBODY], [GET], exceptionPrincipals=["group:x@example.com"]), "principalSet://goog/group"),
    "all excepted": (rule([EVERYBODY], [GET], exceptionPrincipals=[EVERYBODY]), "denies nobody"),
    "no title": (rule([EVERYBODY], [GET], denialCondition={"expression": "true"}), "title"),
    "no CEL": (rule([EVERYBODY], [GET], denialCondition={"title": "t", "expression": "1 +"}), "invalid"),
    "long description": ({"description": "x" * 257, **rule([EVERYBODY], [GET])}, "256"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_RULES)
def test_a_rule_that_may_not_be_is_refused_with_the_reason(api: Api, project: str, case: str) -> None:
    bad, why = BAD_RULES[case]
    body = {"rules": [rule([person(BOB)], [GET]), bad]}
    answer = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "abc"})
    error = error_of(answer)
    assert error["status"] == "INVALID_ARGUMENT"
    assert why in error["message"]
    assert "rules[1]" in json.dumps(error["details"])
    assert reads(api, project) == 200, "nothing was stored"


@pytest.mark.parametrize(
    "body",
    [{}, {"rules": []}, {"rules": [rule([EVERYBODY], [GET])], "displayName": "x" * 64},
     {"rules": [rule([EVERYBODY], [GET])], "annotations": {"k" * 64: "v"}},
     {"rules": [rule([EVERYBODY], [GET])], "annotations": {"k": "v" * 256}}],
    ids=["empty", "no rules", "long name", "long key", "long value"],
)  # fmt: skip
def test_a_policy_that_may_not_be_is_refused(api: Api, project: str, body: dict[str, Any]) -> None:
    answer = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "abc"})
    assert error_of(answer)["status"] == "INVALID_ARGUMENT"


def test_a_place_has_so_many_rules_and_no_more(api: Api, project: str) -> None:
    most = deny_policies.MAX_RULES
    many = denied(api, f"projects/{project}", *[rule([person(BOB)], [GET])] * (most - 1))
    denied(api, f"projects/{project}", rule([person(BOB)], [GET]))
    body = {"rules": [rule([person(BOB)], [GET])] * 2}
    answer = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "abc"})
    assert error_of(answer)["status"] == "RESOURCE_EXHAUSTED"
    assert len(api.done(OWNER, "GET", policies(f"projects/{project}"))["policies"]) == 2
    api.done(OWNER, "DELETE", f"/v2/{many['name']}")
    assert reads(api, project) == 403


# -------------------------------------------------------------------------------- addresses that change their owner


def made_account(api: Api, project: str, account_id: str) -> tuple[str, str]:
    """The address and the unique id of a new service account that may read the models."""
    body = {"accountId": account_id}
    made = api.done(OWNER, "POST", f"/v1/projects/{project}/serviceAccounts", body)
    return made["email"], made["uniqueId"]


def test_a_rule_follows_the_account_and_not_its_address(api: Api, project: str) -> None:
    email, uid = made_account(api, project, "screening")
    account = f"principal://iam.googleapis.com/projects/-/serviceAccounts/{email}"
    other = rule([EVERYBODY], [PREDICT], exceptionPrincipals=[account])
    made = denied(api, f"projects/{project}", rule([account], [GET]), other)

    def named() -> tuple[str, str]:
        first, second = api.done(OWNER, "GET", f"/v2/{made['name']}")["rules"]
        return first["denyRule"]["deniedPrincipals"][0], second["denyRule"]["exceptionPrincipals"][0]

    assert named() == (account, account)
    api.done(OWNER, "DELETE", f"/v1/projects/{project}/serviceAccounts/{email}")
    assert named() == (f"deleted:{account}?uid={uid}",) * 2
    _, new = made_account(api, project, "screening")
    assert named() == (f"deleted:{account}?uid={uid}",) * 2
    api.bind(f"/v1/projects/{project}", {"roles/ml.viewer": [f"serviceAccount:{email}"]})
    assert reads(api, project, f"serviceAccount:{email}") == 200, "the new account is another one"
    api.done(OWNER, "DELETE", f"/v1/projects/{project}/serviceAccounts/{email}")
    api.done(OWNER, "POST", f"/v1/projects/{project}/serviceAccounts/{uid}:undelete")
    assert named() == (account, account)
    assert new != uid


def test_a_rule_follows_the_group_and_not_its_address(api: Api, project: str) -> None:
    email = f"g{uuid.uuid4().hex[:12]}@example.com"
    body = {"groupKey": {"id": email}, "parent": "organizations/1"}

    def group_with_bob() -> str:
        name: str = api.done(OWNER, "POST", "/v1/groups", body)["response"]["name"]
        member = {"preferredMemberKey": {"id": BOB.partition(":")[2]}, "roles": [{"name": "MEMBER"}]}
        api.done(OWNER, "POST", f"/v1/{name}/memberships", member)
        return name

    first = group_with_bob()
    made = denied(api, f"projects/{project}", rule([f"principalSet://goog/group/{email}"], [GET]))
    assert reads(api, project) == 403
    api.done(OWNER, "DELETE", f"/v1/{first}")
    assert reads(api, project) == 200
    assert group_with_bob() != first
    assert reads(api, project) == 200
    named = api.done(OWNER, "GET", f"/v2/{made['name']}")["rules"][0]["denyRule"]["deniedPrincipals"]
    assert named == [f"deleted:principalSet://goog/group/{email}?uid={first.partition('/')[2]}"]


def test_a_rule_cannot_name_an_account_that_does_not_exist(api: Api, project: str) -> None:
    nobody = f"principal://iam.googleapis.com/projects/-/serviceAccounts/nobody@{project}.iam.gserviceaccount.com"
    body = {"rules": [rule([nobody], [GET])]}
    answer = api(OWNER, "POST", policies(f"projects/{project}"), body, params={"policyId": "abc"})
    assert "does not exist" in error_of(answer)["message"]


def test_an_address_that_was_denied_before_anybody_had_it_stays_denied_and_was_never_excepted(api: Api) -> None:
    project = f"deny-{uuid.uuid4().hex[:12]}"
    email = f"earlier@{project}.iam.gserviceaccount.com"
    account = f"principal://iam.googleapis.com/projects/-/serviceAccounts/{email}"
    other = rule([person(EVE)], [PREDICT], exceptionPrincipals=[account])
    made = denied(api, "organizations/1", rule([account], [GET]), other)
    api.done(OWNER, "POST", "/v1/projects", {"projectId": project})
    made_account(api, project, "earlier")
    first, second = api.done(OWNER, "GET", f"/v2/{made['name']}")["rules"]
    assert first["denyRule"]["deniedPrincipals"] == [account]
    assert second["denyRule"]["exceptionPrincipals"] == [f"deleted:{account}?uid=0"]
    api.done(OWNER, "DELETE", f"/v2/{made['name']}")


# -------------------------------------------------------------------------------------------------------------- audit


def test_the_audit_log_tells_what_changed(api: Api, project: str, server: Server) -> None:
    made = denied(api, f"projects/{project}", rule([person(BOB)], [GET]))
    kept, added = rule([person(BOB)], [GET]), rule([person(EVE)], [GET])
    api.done(OWNER, "PUT", f"/v2/{made['name']}", {"displayName": "n", "rules": [kept, added]})
    api.done(OWNER, "DELETE", f"/v2/{made['name']}")
    entries = [e for e in audit(server) if e["resource"] == f"projects/{project}" and "denyPolicy" in e["detail"]]
    assert [e["method"].rpartition(".")[2] for e in entries] == ["createPolicy", "update", "delete"]
    assert [e["detail"]["denyPolicy"]["ruleDeltas"] for e in entries] == [
        [{"action": "ADD", **kept}],
        [{"action": "ADD", **added}],
        [{"action": "REMOVE", **kept}, {"action": "REMOVE", **added}],
    ]
    assert entries[1]["detail"]["denyPolicy"]["displayName"] == "n"
    assert {e["because"]["role"] for e in entries} == {"roles/iam.denyAdmin"}


def audit(server: Server) -> list[dict[str, Any]]:
    """The audit log, oldest first; no method reads it yet."""
    with closing(sqlite3.connect(server.data_dir / "mlgate.db")) as connection:
        rows = connection.execute("SELECT method, resource, because, detail FROM audit_entries ORDER BY id").fetchall()
    return [
        {"method": method, "resource": resource, "because": json.loads(because or "{}"), "detail": json.loads(detail)}
        for method, resource, because, detail in rows
    ]


# ------------------------------------------------------------------------------------------------------------ clients


def test_googles_client_manages_deny_policies(api: Api, project: str, server: Server) -> None:
    client = server.api("iam", version="v2").policies()
    parent = f"policies/cloudresourcemanager.googleapis.com%2Fprojects%2F{project}/denypolicies"
    body = {"rules": [rule([person(BOB)], [GET])]}
    operation = client.createPolicy(parent=parent, policyId="by-google", body=body).execute()
    name = operation["response"]["name"]
    assert reads(api, project) == 403
    assert client.operations().get(name=operation["name"]).execute() == operation
    assert [p["name"] for p in client.listPolicies(parent=parent).execute()["policies"]] == [name]
    policy = client.get(name=f"{parent}/by-google").execute()
    policy["rules"][0]["denyRule"]["deniedPermissions"] = [PREDICT]
    client.update(name=name, body=policy).execute()
    assert reads(api, project) == 200
    with pytest.raises(HttpError, match="concurrent"):
        client.delete(name=name, etag=policy["etag"]).execute()
    assert client.delete(name=name).execute()["done"]
    assert client.listPolicies(parent=parent).execute() == {}


def plain(described: dict[str, Any]) -> Any:
    """A method as a client sees it; messages of several APIs have one name here, and kinds are denypolicies alone."""
    text = json.dumps(described).replace("GoogleLongrunningOperation", "Operation")
    return json.loads(text.replace("denypolicies", "[^/]+"))


def test_the_methods_are_googles() -> None:
    theirs, ours = methods(google("iam.v2")), methods(discovery.document(registry(), "iam", "http://x", "v2"))
    assert ours.keys() == theirs.keys()
    for method_id in theirs:
        assert plain(contract(ours[method_id])) == plain(contract(theirs[method_id]))


def test_the_messages_are_googles() -> None:
    theirs, ours = google("iam.v2")["schemas"], discovery.document(registry(), "iam", "http://x", "v2")["schemas"]
    for name in (name for name in ours if name.startswith("GoogleIamV2")):
        assert {k: (f.get("type"), f.get("format")) for k, f in ours[name]["properties"].items()} == {
            k: (f.get("type"), f.get("format")) for k, f in theirs[name]["properties"].items()
        }


@pytest.mark.parametrize("form", ["projects/{}", "cloudresourcemanager.googleapis.com/projects/{}"])
def test_the_command_line_manages_deny_policies_in_gclouds_words(
    api: Api, project: str, server: Server, tmp_path: Path, form: str
) -> None:
    ada, file = CommandLine(server, tmp_path / "config"), tmp_path / "policy.yaml"
    file.write_text(json.dumps({"displayName": "n", "rules": [rule([person(BOB)], [GET])]}))
    where = (f"--attachment-point={form.format(project)}", "--kind=denypolicies")
    made = ada.ok("iam", "policies", "create", "by-hand", *where, f"--policy-file={file}").yaml
    assert made["name"].endswith("/denypolicies/by-hand")
    assert reads(api, project) == 403
    printed = ada.ok("iam", "policies", "get", "by-hand", *where)
    assert printed.yaml == made
    assert "by-hand" in ada.ok("iam", "policies", "list", *where).stdout
    file.write_text(printed.stdout.replace(GET, PREDICT))
    ada.ok("iam", "policies", "update", "by-hand", *where, f"--policy-file={file}")
    assert reads(api, project) == 200
    assert "ABORTED" in ada.fails("iam", "policies", "update", "by-hand", *where, f"--policy-file={file}")
    assert "ABORTED" in ada.fails("iam", "policies", "delete", "by-hand", *where, f"--etag={made['etag']}")
    ada.ok("iam", "policies", "delete", "by-hand", *where)
    assert "NOT_FOUND" in ada.fails("iam", "policies", "get", "by-hand", *where)


def test_the_command_line_says_what_an_attachment_point_is(server: Server, tmp_path: Path) -> None:
    ada = CommandLine(server, tmp_path / "config")
    assert "folders/NUMBER" in ada.fails("iam", "policies", "list", "--attachment-point=buckets/b")
    assert "denypolicies" in ada.fails(
        "iam", "policies", "list", "--attachment-point=projects/p-p-p-p", "--kind=accessboundaries"
    )
    assert "alone" in ada.fails("iam", "policies", "get", "a/b", "--attachment-point=projects/demo-project")
