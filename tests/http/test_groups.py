"""Groups over HTTP: what being in one grants and from which moment, who may change whom, and what a stranger learns."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from mlgate.cli import moments
from tests.command_line import CommandLine
from tests.harness import OWNER, PROJECT, Server
from tests.http.people import Api, error_of, tokens, writing

P = f"/v1/projects/{PROJECT}"
FORUM = "cloudidentity.googleapis.com/groups.discussion_forum"
EMPTY = {"done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}


def unique(text: str) -> str:
    return f"{text}-{uuid.uuid4().hex[:10]}@example.com"


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Groups(Api):
    """Groups as the organization's admin makes them."""

    def new(self, text: str = "team", by: str = OWNER, owned: bool = False, **more: Any) -> tuple[str, str]:
        """A new group: its path and its address."""
        email = unique(text)
        query = {"initialGroupConfig": "WITH_INITIAL_OWNER"} if owned else {}
        made = self.done(by, "POST", "/v1/groups", {"groupKey": {"id": email}, **more}, params=query)
        return f"/v1/{made['response']['name']}", email

    def add(self, group: str, email: str, *roles: str, by: str = OWNER, end: str = "") -> Any:
        given: list[dict[str, Any]] = [{"name": role} for role in roles or ("MEMBER",)]
        if end:
            given[0]["expiryDetail"] = {"expireTime": end}
        body = {"preferredMemberKey": {"id": email}, "roles": given}
        return self(by, "POST", f"{group}/memberships", body)

    def added(self, group: str, email: str, *roles: str, **options: Any) -> str:
        """The path of a new membership."""
        answer = self.add(group, email, *roles, **options)
        assert answer.status_code == 200, answer.text
        return f"/v1/{answer.json()['response']['name']}"

    def emails(self, group: str, by: str = OWNER) -> set[str]:
        listed = self.done(by, "GET", f"{group}/memberships").get("memberships", [])
        return {m["preferredMemberKey"]["id"] for m in listed}

    def model_for(self, *members: str) -> str:
        """A new model that these members may use."""
        name = f"m{uuid.uuid4().hex[:12]}"
        self.done(OWNER, "POST", f"{P}/models", {"name": name})
        assert self.bind(f"{P}/models/{name}", {"roles/ml.modelUser": list(members)}).status_code == 200
        return f"{P}/models/{name}"

    def sees(self, email: str, model: str) -> bool:
        status = self(f"user:{email}", "GET", model).status_code
        assert status in (200, 403)
        return status == 200


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Groups]:
    with Groups(server) as made:
        yield made


@pytest.fixture
def bob(api: Groups) -> str:
    email = unique("bob")
    api.sign_in([f"user:{email}"])
    return email


# ------------------------------------------------------------------------------------------------- what it grants


def test_a_membership_counts_from_its_answer_to_the_answer_of_its_deletion(api: Groups, bob: str) -> None:
    group, email = api.new()
    model = api.model_for(f"group:{email}")
    for _ in range(5):
        assert not api.sees(bob, model)
        membership = api.added(group, bob)
        assert api.sees(bob, model)
        assert api.done(OWNER, "DELETE", membership) == EMPTY


def test_it_counts_in_every_process_from_its_answer_on(make_server: Callable[..., Server]) -> None:
    server = make_server(workers=2)
    bob = "bob@example.com"
    with ExitStack() as stack:
        api, *others = [stack.enter_context(Groups(server)) for _ in range(9)]
        group, email = api.new()
        model = api.model_for(f"group:{email}")
        api.sign_in([f"user:{bob}"])
        for other in others:
            other.bearers = api.bearers

        def everywhere() -> set[bool]:
            """What several connections, which reach different processes, answer at once."""
            with ThreadPoolExecutor(len(others)) as pool:
                return set(pool.map(lambda other: other.sees(bob, model), others))

        for _ in range(20):
            membership = api.added(group, bob)
            assert everywhere() == {True}
            api.done(OWNER, "DELETE", membership)
            assert everywhere() == {False}


def test_members_of_a_group_inside_a_group_are_in_both(api: Groups, bob: str) -> None:
    (outer, outer_email), (middle, middle_email), (inner, inner_email) = api.new(), api.new(), api.new()
    model = api.model_for(f"group:{outer_email}")
    api.added(inner, bob)
    api.added(outer, middle_email)
    assert not api.sees(bob, model)
    link = api.added(middle, inner_email)
    assert api.sees(bob, model)
    assert api.done(OWNER, "GET", link)["type"] == "GROUP"
    api.done(OWNER, "DELETE", link)
    assert not api.sees(bob, model)


def test_a_membership_with_an_end_counts_until_then_and_is_shown_no_more(api: Groups, bob: str) -> None:
    group, email = api.new()
    model = api.model_for(f"group:{email}")
    end = time.time() + 1.5
    membership = api.added(group, bob, end=soon(1.5))
    assert api.sees(bob, model)
    assert bob in api.emails(group)
    assert "expireTime" in api.done(OWNER, "GET", membership)["roles"][0]["expiryDetail"]
    while api.sees(bob, model):
        assert time.time() < end + 5, "it still counts"
    assert time.time() >= end - 0.1
    assert bob not in api.emails(group)
    assert api(OWNER, "GET", membership).status_code == 404
    assert api(OWNER, "DELETE", membership).status_code == 404
    api.added(group, bob)  # the old one is not in the way
    assert api.sees(bob, model)


def test_the_end_of_a_membership_can_be_moved_and_taken_away(api: Groups, bob: str) -> None:
    group, email = api.new()
    model = api.model_for(f"group:{email}")
    membership = api.added(group, bob, end=soon(3600))

    def set_end(**role: Any) -> Any:
        params = [{"fieldMask": "expiryDetail.expireTime", "membershipRole": {"name": "MEMBER", **role}}]
        return api.done(OWNER, "POST", f"{membership}:modifyMembershipRoles", {"updateRolesParams": params})

    moved = set_end(expiryDetail={"expireTime": soon(0.7)})
    assert moved["membership"]["roles"][0]["expiryDetail"]
    kept = set_end()
    assert kept["membership"]["roles"] == [{"name": "MEMBER"}]
    until = time.time() + 1
    while time.time() < until:
        assert api.sees(bob, model)


def test_service_accounts_are_members_too_and_leave_when_they_are_deleted(api: Groups) -> None:
    account_id = f"a{uuid.uuid4().hex[:12]}"
    account = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": account_id})
    group, email = api.new()
    model = api.model_for(f"group:{email}")
    path = api.added(group, account["email"], "MEMBER", "OWNER")
    assert api.done(OWNER, "GET", path)["type"] == "SERVICE_ACCOUNT"
    member = f"serviceAccount:{account['email']}"
    assert api(member, "GET", model).status_code == 200
    assert api(member, "GET", group).status_code == 200
    api.done(OWNER, "DELETE", f"/v1/{account['name']}")
    assert api.emails(group) == set()
    again = api.done(OWNER, "POST", f"{P}/serviceAccounts", {"accountId": account_id})
    api.bearers.pop(member)
    assert again["uniqueId"] != account["uniqueId"]
    for path in (model, group):
        assert api(member, "GET", path).status_code == 403


def test_a_deleted_group_grants_nothing_and_a_new_one_of_its_address_inherits_nothing(api: Groups, bob: str) -> None:
    """T-25."""
    (group, email), (outer, outer_email) = api.new(), api.new()
    model, outer_model = api.model_for(f"group:{email}"), api.model_for(f"group:{outer_email}")
    api.added(group, bob, "MEMBER", "OWNER")
    api.added(outer, email)
    assert api.sees(bob, model)
    assert api.sees(bob, outer_model)
    assert api.done(OWNER, "DELETE", group) == EMPTY
    assert not api.sees(bob, model)
    assert not api.sees(bob, outer_model)
    assert api.emails(outer) == set()
    uid = group.rpartition("/")[2]
    policy = api.done(OWNER, "GET", f"{model}:getIamPolicy")
    assert policy["bindings"][-1]["members"] == [f"deleted:group:{email}?uid={uid}"]
    again = api.done(OWNER, "POST", "/v1/groups", {"groupKey": {"id": email}})["response"]["name"]
    assert again != f"groups/{uid}"
    api.added(f"/v1/{again}", bob)
    assert not api.sees(bob, model)
    assert not api.sees(bob, outer_model)
    assert api(f"user:{bob}", "GET", group).status_code == 403


# ------------------------------------------------------------------------------------------------------ who may what


def test_owners_and_managers_have_the_rights_of_their_roles_on_the_group_alone(api: Groups, bob: str) -> None:
    group, _ = api.new()
    other, _ = api.new()
    membership = api.added(group, bob)
    someone = f"user:{bob}"

    def may() -> list[int]:
        tried = [
            ("GET", group, None), ("GET", f"{group}/memberships", None),
            ("POST", f"{group}/memberships", {"preferredMemberKey": {"id": unique("new")}}),
            ("PATCH", f"{group}?updateMask=description", {"description": "d"}), ("GET", other, None),
        ]  # fmt: skip
        return [api(someone, *call).status_code for call in tried]

    def modify(**change: Any) -> None:
        api.done(OWNER, "POST", f"{membership}:modifyMembershipRoles", change)

    assert may() == [403] * 5
    modify(addRoles=[{"name": "MANAGER"}])
    assert may() == [200, 200, 200, 403, 403]
    modify(addRoles=[{"name": "OWNER"}], removeRoles=["MANAGER"])
    assert may() == [200, 200, 200, 200, 403]
    modify(removeRoles=["OWNER"])
    assert may() == [403] * 5


def test_a_manager_makes_no_owner_and_unmakes_none(api: Groups, bob: str) -> None:
    group, _ = api.new()
    boss = api.added(group, unique("boss"), "MEMBER", "OWNER")
    mine = api.added(group, bob, "MEMBER", "MANAGER")
    me = f"user:{bob}"
    for roles in (("OWNER",), ("MEMBER", "MANAGER")):
        refused = api.add(group, unique("friend"), *roles, by=me)
        assert refused.status_code == 403
        assert "cloudidentity.memberships.update" in error_of(refused)["message"]
    for path, change in ((mine, {"addRoles": [{"name": "OWNER"}]}), (boss, {"removeRoles": ["OWNER"]})):
        assert api(me, "POST", f"{path}:modifyMembershipRoles", change).status_code == 403
    assert api(me, "DELETE", boss).status_code == 403
    plain = api.added(group, unique("friend"), by=me)
    assert api(me, "DELETE", plain).status_code == 200
    assert api(me, "DELETE", group).status_code == 403


def test_the_creator_is_owner_only_when_asked_and_may_then_govern_without_the_organization(api: Groups) -> None:
    group, _ = api.new(owned=True)
    (only,) = api.done(OWNER, "GET", f"{group}/memberships")["memberships"]
    assert only["preferredMemberKey"] == {"id": OWNER.partition(":")[2]}
    assert [role["name"] for role in only["roles"]] == ["MEMBER", "OWNER"]
    empty, _ = api.new()
    assert api.emails(empty) == set()


def test_a_stranger_learns_nothing_of_which_groups_there_are(api: Groups, bob: str) -> None:
    group, email = api.new(displayName="Secret")
    nobody, absent = f"user:{bob}", unique("absent")
    api.added(group, bob)  # to be in a group is no right to look at it
    membership = f"{group}/memberships/1"
    ghost = "/v1/groups/123456789012345678901"
    pairs = [
        (("GET", group), ("GET", ghost)),
        (("DELETE", group), ("DELETE", ghost)),
        (("GET", membership), ("GET", f"{ghost}/memberships/1")),
        (("GET", f"{group}/memberships"), ("GET", f"{ghost}/memberships")),
        (("POST", f"{group}/memberships"), ("POST", f"{ghost}/memberships")),
        (("POST", f"{membership}:modifyMembershipRoles"), ("POST", f"{ghost}/memberships/1:modifyMembershipRoles")),
        (("GET", f"/v1/groups:lookup?groupKey.id={email}"), ("GET", f"/v1/groups:lookup?groupKey.id={absent}")),
        (("POST", "/v1/groups"), ("GET", "/v1/groups")),
    ]
    for there, not_there in pairs:
        one, other = api(nobody, *there), api(nobody, *not_there)
        assert (one.status_code, other.status_code) == (403, 403), there
        strip = str.maketrans("", "", "0123456789")
        texts = [error_of(a)["message"].replace(email, "X").replace(absent, "X").translate(strip) for a in (one, other)]
        assert texts[0] == texts[1] or "/v1/groups" in (there[1], not_there[1])
    for path in ("/v1/groups:search", "/v1/groups/-/memberships:searchTransitiveGroups",
                 "/v1/groups/-/memberships:searchDirectGroups"):  # fmt: skip
        query = {"query": f"member_key_id == '{bob}'"} if "members" in path else {}
        assert api.done(nobody, "GET", path, params=query) == {}
    assert api("", "GET", group).status_code == 401


def test_whoever_may_see_all_groups_hears_of_one_that_is_not(api: Groups) -> None:
    answer = api(OWNER, "GET", "/v1/groups:lookup", params={"groupKey.id": unique("absent")})
    assert (answer.status_code, error_of(answer)["status"]) == (404, "NOT_FOUND")


# ----------------------------------------------------------------------------------------------------- what is refused


def test_groups_cannot_be_inside_each_other_in_a_circle(api: Groups) -> None:
    groups = [api.new() for _ in range(4)]
    for (outer, _), (_, inner) in pairwise(groups):
        api.added(outer, inner)
    for n in range(4):
        answer = api.add(groups[3][0], groups[n][1])
        assert (answer.status_code, error_of(answer)["status"]) == (400, "FAILED_PRECONDITION")
        assert "Cycle memberships not allowed" in error_of(answer)["message"]
    api.added(groups[0][0], groups[3][1])  # a second path is no circle


def test_two_writers_cannot_close_a_circle_together(api: Groups) -> None:
    for _ in range(5):
        (one, one_email), (two, two_email) = api.new(), api.new()
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda pair: api.add(*pair), [(one, two_email), (two, one_email)]))
        assert sorted(a.status_code for a in answers) == [200, 400]


def test_groups_are_inside_each_other_only_so_deep(api: Groups) -> None:
    groups = [api.new("deep") for _ in range(21)]
    for (outer, _), (_, inner) in pairwise(groups[:20]):
        api.added(outer, inner)
    for outer, inner in ((groups[19], groups[20]), (groups[20], groups[0])):
        answer = api.add(outer[0], inner[1])
        assert error_of(answer)["status"] == "FAILED_PRECONDITION"
        assert "20 deep" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 400, "groupKey"),
        ({"groupKey": {"id": "no address"}}, 400, "no address"),
        ({"groupKey": {"id": "x@p.iam.gserviceaccount.com"}}, 400, "service accounts"),
        ({"groupKey": {"id": "a@example.com", "namespace": "identitysources/1"}}, 501, "namespace"),
        ({"groupKey": {"id": "a@example.com"}, "parent": "customers/C2"}, 400, "organizations/1"),
        ({"groupKey": {"id": "a@example.com"}, "labels": {"team": ""}}, 400, "team"),
        ({"groupKey": {"id": "a@example.com"}, "labels": {FORUM: "x"}}, 400, FORUM),
        ({"groupKey": {"id": "a@example.com"}, "description": "d" * 4097}, 400, "description"),
        ({"groupKey": {"id": "a@example.com"}, "dynamicGroupMetadata": {"queries": [{"query": "x"}]}}, 501, "dynamic"),
        ({"groupKey": {"id": "a@example.com"}, "color": "red"}, 400, "color"),
    ],
)
def test_a_group_that_may_not_be_is_refused_with_the_reason(
    api: Groups, body: dict[str, Any], status: int, named: str
) -> None:
    answer = api(OWNER, "POST", "/v1/groups", body)
    assert answer.status_code == status
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "preferredMemberKey"),
        ({"preferredMemberKey": {"id": "bob"}}, '"bob" is no address'),
        ({"preferredMemberKey": {"id": f"gone@{PROJECT}.iam.gserviceaccount.com"}}, "does not exist"),
        ({"roles": [{"name": "KING"}]}, "KING"),
        ({"roles": [{"name": "MEMBER"}, {"name": "MEMBER"}]}, "twice"),
        ({"roles": [{"name": "MEMBER", "expiryDetail": {"expireTime": "2020-01-01T00:00:00Z"}}]}, "future"),
        ({"roles": [{"name": "OWNER", "expiryDetail": {"expireTime": "2999-01-01T00:00:00Z"}}]}, "Only MEMBER"),
        (
            {
                "roles": [
                    {"name": "MEMBER", "expiryDetail": {"expireTime": "2999-01-01T00:00:00Z"}},
                    {"name": "OWNER"},
                ]
            },
            "can expire",
        ),
    ],
)
def test_a_membership_that_may_not_be_is_refused_with_the_reason(api: Groups, body: dict[str, Any], named: str) -> None:
    group, _ = api.new()
    given = {"preferredMemberKey": {"id": "bob@example.com"}} if "roles" in body else {}
    answer = api(OWNER, "POST", f"{group}/memberships", {**given, **body})
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
    assert api.emails(group) == set()


def test_a_group_cannot_own_a_group(api: Groups) -> None:
    (group, _), (_, inner) = api.new(), api.new()
    answer = api.add(group, inner, "MEMBER", "OWNER")
    assert answer.status_code == 400
    assert "can only be MEMBER" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, "addRoles"),
        ({"removeRoles": ["MEMBER"]}, "MEMBER"),
        ({"removeRoles": ["KING"]}, "KING"),
        ({"addRoles": [{"name": "KING"}]}, "KING"),
        (
            {"addRoles": [{"name": "OWNER", "expiryDetail": {"expireTime": "2999-01-01T00:00:00Z"}}]},
            "updateRolesParams",
        ),
        ({"addRoles": [{"name": "OWNER"}], "updateRolesParams": [{}]}, "alone"),
        ({"updateRolesParams": [{"membershipRole": {"name": "OWNER"}}]}, "MEMBER"),
        ({"updateRolesParams": [{"fieldMask": "name", "membershipRole": {"name": "MEMBER"}}]}, "name"),
    ],
)
def test_a_change_of_roles_that_may_not_be_is_refused(api: Groups, change: dict[str, Any], named: str) -> None:
    group, _ = api.new()
    membership = api.added(group, unique("bob"))
    answer = api(OWNER, "POST", f"{membership}:modifyMembershipRoles", change)
    assert answer.status_code == 400
    assert named in error_of(answer)["message"]


def test_addresses_are_one_whatever_their_case_and_nobody_is_in_twice(api: Groups, bob: str) -> None:
    group, email = api.new()
    assert api(OWNER, "POST", "/v1/groups", {"groupKey": {"id": email.upper()}}).status_code == 409
    api.added(group, bob.upper())
    assert api.emails(group) == {bob}
    again = api.add(group, bob)
    assert (again.status_code, error_of(again)["status"]) == (409, "ALREADY_EXISTS")
    found = api.done(OWNER, "GET", f"{group}/memberships:lookup", params={"memberKey.id": bob.upper()})
    assert api.done(OWNER, "GET", f"/v1/{found['name']}")["preferredMemberKey"] == {"id": bob}


def test_an_address_that_an_account_is_given_later_is_in_no_group_by_then(api: Groups) -> None:
    """Somebody outside may be a member; whoever gets the address on this server is somebody else."""
    project = f"p{uuid.uuid4().hex[:12]}"
    group, email = api.new()
    stranger = f"worker@{project}.iam.gserviceaccount.com"
    api.added(group, stranger)
    api.new_project(project)
    model = api.model_for(f"group:{email}")
    api.done(OWNER, "POST", f"/v1/projects/{project}/serviceAccounts", {"accountId": "worker"})
    assert api(f"serviceAccount:{stranger}", "GET", model).status_code == 403
    assert api.emails(group) == set()


# ----------------------------------------------------------------------------------------------------- reading, finding


def test_a_group_is_changed_field_by_field_and_keeps_its_address(api: Groups) -> None:
    group, email = api.new(displayName="One", description="first")
    done = api.done(OWNER, "PATCH", f"{group}?updateMask=display_name", {"displayName": "Two", "description": "x"})
    assert done["done"] is True
    assert done["response"]["@type"] == "type.googleapis.com/google.apps.cloudidentity.groups.v1.Group"
    shown = api.done(OWNER, "GET", group)
    assert (shown["displayName"], shown["description"], shown["groupKey"]) == ("Two", "first", {"id": email})
    assert shown["parent"] == "organizations/1"
    assert shown["labels"] == {FORUM: ""}
    for mask in ("", "groupKey", "name"):
        assert api(OWNER, "PATCH", f"{group}?updateMask={mask}", {"displayName": "Three"}).status_code == 400


def test_lists_are_paged_and_searches_find(api: Groups, bob: str) -> None:
    mark = uuid.uuid4().hex[:10]
    made = [api.new(f"{mark}{n}", displayName=f"{mark} {n}") for n in range(5)]
    query = f"parent == 'organizations/1' && group_key.startsWith('{mark}') && '{FORUM}' in labels"

    def search(by: str, text: str, size: int = 2) -> list[str]:
        found, token = [], ""
        while True:
            page = api.done(
                by, "GET", "/v1/groups:search", params={"query": text, "pageSize": size, "pageToken": token}
            )
            found += [g["name"] for g in page.get("groups", [])]
            token = page.get("nextPageToken", "")
            if not token:
                return found

    assert sorted(search(OWNER, query)) == sorted(path.removeprefix("/v1/") for path, _ in made)
    assert search(OWNER, f"display_name == '{mark} 3'") == [made[3][0].removeprefix("/v1/")]
    assert search(OWNER, f"group_key == '{made[2][1].upper()}'") == [made[2][0].removeprefix("/v1/")]
    assert search(f"user:{bob}", query) == []
    api.added(made[1][0], bob, "MEMBER", "MANAGER")
    assert search(f"user:{bob}", query) == [made[1][0].removeprefix("/v1/")]
    for wrong in ("parent == 'customers/C2'", "color == 'red'", "display_name ~ 'x'"):
        assert api(OWNER, "GET", "/v1/groups:search", params={"query": wrong}).status_code == 400
    first = api.done(OWNER, "GET", "/v1/groups", params={"pageSize": 1, "view": "FULL"})
    assert "createTime" in first["groups"][0]
    assert api(OWNER, "GET", "/v1/groups", params={"pageToken": first["nextPageToken"]}).status_code == 200
    assert api(f"user:{bob}", "GET", "/v1/groups").status_code == 403


def test_members_through_groups_are_found_from_both_ends(api: Groups, bob: str) -> None:
    (outer, outer_email), (middle, middle_email), (inner, inner_email) = api.new(), api.new(), api.new()
    api.added(outer, middle_email)
    api.added(middle, inner_email)
    api.added(inner, bob, "MEMBER", "OWNER")
    api.added(outer, bob)
    about = {"query": f"member_key_id == '{bob}' && '{FORUM}' in labels"}
    relations = api.done(OWNER, "GET", "/v1/groups/-/memberships:searchTransitiveGroups", params=about)["memberships"]
    assert {r["groupKey"]["id"]: (r["relationType"], [x["role"] for x in r["roles"]]) for r in relations} == {
        outer_email: ("DIRECT_AND_INDIRECT", ["MEMBER"]), middle_email: ("INDIRECT", ["MEMBER"]),
        inner_email: ("DIRECT", ["MEMBER", "OWNER"]),
    }  # fmt: skip
    direct = api.done(OWNER, "GET", "/v1/groups/-/memberships:searchDirectGroups", params=about)["memberships"]
    assert {r["groupKey"]["id"] for r in direct} == {outer_email, inner_email}
    inside = api.done(OWNER, "GET", f"{outer}/memberships:searchTransitiveMemberships")["memberships"]
    assert {r["preferredMemberKey"][0]["id"]: r["relationType"] for r in inside} == {
        middle_email: "DIRECT", inner_email: "INDIRECT", bob: "DIRECT_AND_INDIRECT"
    }  # fmt: skip

    def check(group: str, email: str, by: str = OWNER) -> Any:
        query = {"query": f"member_key_id == '{email}'"}
        return api(by, "GET", f"{group}/memberships:checkTransitiveMembership", params=query)

    assert check(middle, bob).json() == {"hasMembership": True}
    assert check(middle, inner_email).json() == {"hasMembership": True}
    assert check(inner, middle_email).json() == {}
    assert check(middle, unique("nobody")).json() == {}
    # an owner of one group sees its members, and not those of groups inside it
    lena = unique("lena")
    api.added(middle, lena, "MEMBER", "OWNER")
    assert check(middle, inner_email, f"user:{lena}").json() == {"hasMembership": True}
    assert check(middle, bob, f"user:{lena}").status_code == 403
    assert api(f"user:{lena}", "GET", f"{middle}/memberships:searchTransitiveMemberships").status_code == 403
    seen = api.done(f"user:{bob}", "GET", "/v1/groups/-/memberships:searchTransitiveGroups", params=about)
    assert [r["groupKey"]["id"] for r in seen["memberships"]] == [inner_email]


def test_what_is_not_there_yet_says_so_by_name(api: Groups) -> None:
    group, _ = api.new()
    answer = api(OWNER, "GET", f"{group}/memberships:getMembershipGraph")
    assert (answer.status_code, error_of(answer)["status"]) == (501, "UNIMPLEMENTED")
    assert "getMembershipGraph" in error_of(answer)["message"]


def test_the_audit_log_says_who_was_added_and_what_allowed_it(api: Groups, bob: str) -> None:
    group, _ = api.new()
    api.added(group, bob, "MEMBER", "OWNER")
    with writing(api.server) as tx:
        rows = tx._db.exec_driver_sql(  # type: ignore[attr-defined]
            "SELECT method, principal, because, detail FROM audit_entries WHERE resource = ?", (group[4:],)
        ).all()
    (entry,) = [row for row in rows if row.method == "cloudidentity.groups.memberships.create"]
    assert entry.principal == OWNER
    assert "roles/cloudidentity.groupsAdmin" in entry.because
    assert f"user:{bob}" in entry.detail
    assert "OWNER" in entry.detail


# -------------------------------------------------------------------------------------------------- Google's own client


def test_googles_own_client_manages_a_group(server: Server) -> None:
    server._tokens.update(tokens(server, {OWNER} - server._tokens.keys()))
    groups = server.api("cloudidentity").groups()
    email = unique("client")
    body = {
        "parent": "organizations/1", "groupKey": {"id": email}, "labels": {FORUM: ""}, "displayName": "Client",
    }  # fmt: skip
    made = groups.create(initialGroupConfig="WITH_INITIAL_OWNER", body=body).execute()
    name = made["response"]["name"]
    assert groups.lookup(groupKey_id=email).execute() == {"name": name}
    assert groups.get(name=name).execute()["displayName"] == "Client"
    changed = groups.patch(name=name, updateMask="description", body={"description": "d"}).execute()
    assert changed["response"]["description"] == "d"
    memberships = groups.memberships()
    end = {"expiryDetail": {"expireTime": soon(3600)}}
    member = {"preferredMemberKey": {"id": "bob@example.com"}, "roles": [{"name": "MEMBER", **end}]}
    added = memberships.create(parent=name, body=member).execute()["response"]
    assert memberships.lookup(parent=name, memberKey_id="bob@example.com").execute() == {"name": added["name"]}
    request, seen = memberships.list(parent=name, pageSize=1, view="FULL"), []
    while request is not None:
        answer = request.execute()
        seen += [m["preferredMemberKey"]["id"] for m in answer["memberships"]]
        request = memberships.list_next(request, answer)
    assert sorted(seen) == ["ada@example.com", "bob@example.com"]
    query = "member_key_id == 'bob@example.com'"
    assert memberships.checkTransitiveMembership(parent=name, query=query).execute() == {"hasMembership": True}
    change = {"updateRolesParams": [{"fieldMask": "expiryDetail.expireTime", "membershipRole": {"name": "MEMBER"}}]}
    modified = memberships.modifyMembershipRoles(name=added["name"], body=change).execute()
    assert modified["membership"]["roles"] == [{"name": "MEMBER"}]
    assert memberships.delete(name=added["name"]).execute() == EMPTY
    assert groups.delete(name=name).execute() == EMPTY
    with pytest.raises(HttpError):
        groups.get(name=name).execute()


# --------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path / "config")


def test_the_command_line_makes_a_group_and_fills_it(ada: CommandLine, api: Groups, bob: str) -> None:
    team, whole = unique("team"), unique("whole")
    words = ("identity", "groups")
    made = ada.ok(*words, "create", team, "--display-name", "Team", "--with-initial-owner", "with-initial-owner").yaml
    assert (made["displayName"], made["groupKey"]["id"]) == ("Team", team)
    ada.ok(*words, "create", whole)
    model = api.model_for(f"group:{whole}")
    ada.ok(*words, "memberships", "add", "--group-email", whole, "--member-email", team)
    added = ada.ok(
        *words, "memberships", "add", f"--group-email={team}", f"--member-email={bob}", "--expiration=7d"
    ).yaml
    end = datetime.fromisoformat(added["roles"][0]["expiryDetail"]["expireTime"])
    assert abs(end - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert api.sees(bob, model)
    listed = ada.ok(*words, "memberships", "list", "--group-email", team).stdout
    assert "ada@example.com" in listed
    assert "MEMBER,OWNER" in listed
    about = ("--group-email", whole, "--member-email", bob)
    assert ada.ok(*words, "memberships", "check-transitive-membership", *about).yaml == {"hasMembership": True}
    through = ada.ok(*words, "memberships", "search-transitive-memberships", "--group-email", whole).stdout
    assert f"{bob}" in through
    assert "INDIRECT" in through
    around = ada.ok(*words, "memberships", "search-transitive-groups", "--member-email", bob).stdout
    assert {team, whole} <= set(around.split())
    mine = ("--group-email", team, "--member-email", bob)
    kept = ada.ok(*words, "memberships", "modify-membership-roles", *mine, "--expiration", "never").yaml
    assert kept["roles"] == [{"name": "MEMBER"}]
    ada.ok(*words, "memberships", "modify-membership-roles", *mine, "--add-roles", "MANAGER")
    roles = ada.ok(*words, "memberships", "describe", *mine, "--format", "value(roles.name)").stdout
    assert roles == "MEMBER,MANAGER\n"
    ada.ok(*words, "memberships", "delete", *mine)
    assert not api.sees(bob, model)
    assert ada.ok(*words, "update", team, "--description", "who trains").yaml["description"] == "who trains"
    assert ada.ok(*words, "describe", team).yaml["description"] == "who trains"
    assert team in ada.ok(*words, "list").stdout
    assert team in ada.ok(*words, "search", "--query", f"group_key == '{team}'").stdout
    ada.ok(*words, "delete", team)
    assert "(or it may not exist)" in ada.fails(*words, "memberships", "list", "--group-email", made["name"])
    assert "NOT_FOUND" in ada.fails(*words, "describe", team)


def test_the_command_line_says_what_is_wrong_with_an_end(ada: CommandLine) -> None:
    add = ("identity", "groups", "memberships", "add", "--group-email", "g@example.com", "--member-email", "m@x.org")
    for wrong in ("tomorrow", "7", "d", "2030-13-01T00:00:00Z", "999999w"):
        assert f'"{wrong}"' in ada.fails(*add, "--expiration", wrong)
    assert "owners and managers have no end" in ada.fails(*add, "--roles", "OWNER", "--expiration", "1d")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", "2026-01-08T00:00:00Z"), ("1w1d", "2026-01-09T00:00:00Z"), ("1h30m", "2026-01-01T01:30:00Z"),
        ("10s", "2026-01-01T00:00:10Z"), ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
    ],
)  # fmt: skip
def test_an_end_is_a_span_from_now_or_a_moment(text: str, moment: str) -> None:
    assert moments.end(text, datetime(2026, 1, 1, tzinfo=UTC)) == moment
