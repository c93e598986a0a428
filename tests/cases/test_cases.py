"""Every case file, four times: by the rule, by the index, by the twin, and by the running server over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mlgate.api.methods import registry
from mlgate.api.routing import Router
from mlgate.core.iam.evaluate import decide
from mlgate.core.iam.index import AccessIndex
from mlgate.core.iam.roles import permissions_by_role
from tests import twin
from tests.cases.case import Ask, Case, Facts, Set, all_cases, member, members, policy_of
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing
from tests.worlds import Change, SmallWorld

CASES = all_cases()
ROUTER = Router(registry().rows)


# By the rule, the index and the twin


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_index_and_twin_decide_the_case(case: Case) -> None:
    world = SmallWorld(roles={role: tuple(held) for role, held in permissions_by_role("documented").items()})
    index = AccessIndex(world.roles)
    for model, owner in case.models.items():
        Change("policy", model, policy_of({"roles/ml.modelOwner": [owner]})).apply(world, index)
    nothing = {project: {} for project in case.projects}
    apply(replace(case.facts, policies=nothing | case.facts.policies), world, index)
    for step in case.steps:
        if isinstance(step, Set):
            apply(step.facts, world, index)
            continue
        for name, allows in judges(world, index).items():
            assert decided(allows, step) == step.is_allowed, f"{name}: {step.line}"


def apply(facts: Facts, world: SmallWorld, index: AccessIndex) -> None:
    for role, held in facts.roles.items():
        Change("role", role, held and tuple(held)).apply(world, index)
    for group, inside in facts.groups.items():
        Change("group", group, inside and members(inside)).apply(world, index)
    for resource, plain in facts.policies.items():
        owned = {"roles/owner": [OWNER]} if resource.count("/") == 1 else {}  # a project always has its owner
        Change("policy", resource, policy_of({**owned, **plain})).apply(world, index)


def judges(world: SmallWorld, index: AccessIndex) -> dict[str, Any]:
    return {
        "the rule": lambda *question: decide(world, *question).allowed,
        "the index": index.is_allowed,
        "the twin": lambda *question: twin.may(world, *question),
    }


def decided(allows: Any, ask: Ask) -> bool:
    row, parameters = ROUTER.match(ask.http, f"/v1/{ask.path}")
    permitted = not isinstance(row.requires, str) or allows(ask.who, row.requires, row.resource(parameters))
    needs = ask.also
    return permitted and (not needs or any(allows(ask.who, permission, needs["at"]) for permission in needs["any"]))


# By the server


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_decides_the_case(case: Case, api: Api) -> None:
    live = Live(api, case)
    live.prepare()
    for step in case.steps:
        if isinstance(step, Set):
            live.set(step.facts, member(step.by) if step.by else OWNER)
        else:
            live.ask(step)


class Live:
    """A case on the server: its projects `p` and `q` get names of their own."""

    def __init__(self, api: Api, case: Case) -> None:
        self.api = api
        self.case = case
        short = case.name.replace("_", "-")[:20].strip("-")
        self.ids = {project.partition("/")[2]: f"{project[-1]}-{short}" for project in case.projects}

    def real(self, text: str) -> str:
        return re.sub(r"projects/(\w+)\b", lambda m: f"projects/{self.ids.get(m.group(1), m.group(1))}", text)

    def prepare(self) -> None:
        """Projects, then models by their creators, who are Developers for a moment, then the facts of the case."""
        for project in self.case.projects:
            path = self.api.new_project(self.real(project).partition("/")[2])
            creators = [member(who) for model, who in self.case.models.items() if model.startswith(f"{project}/")]
            assert self.api.bind(path, {"roles/ml.developer": creators}).status_code == 200
        for model, creator in self.case.models.items():
            parent, _, model_id = model.rpartition("/")
            self.api.done(member(creator), "POST", f"/v1/{self.real(parent)}", {"name": model_id})
        nothing = {project: {} for project in self.case.projects}
        self.set(replace(self.case.facts, policies=nothing | self.case.facts.policies), OWNER)

    def set(self, facts: Facts, by: str) -> None:
        """Custom roles and groups straight into the store, as their APIs come with a later issue; policies by the API,
        except those of jobs and operations, which only the server sets."""
        with writing(self.api.server) as tx:
            for role, held in facts.roles.items():
                tx.set_fact("role", self.real(role), held)
            for group, inside in facts.groups.items():
                tx.set_fact("group", group, inside and members(inside))
            for resource, plain in facts.policies.items():
                if "/jobs/" in resource or "/operations/" in resource:
                    tx.set_policy(self.real(resource), policy_of(plain))
        for resource, plain in facts.policies.items():
            if "/jobs/" not in resource and "/operations/" not in resource:
                bindings = {self.real(role): list(members(names)) for role, names in plain.items()}
                done = self.api.bind(f"/v1/{self.real(resource)}", bindings, by=by)
                assert done.status_code == 200, done.text

    def ask(self, ask: Ask) -> None:
        path = f"/v1/{self.real(ask.path)}"
        is_probe = ask.expect in ("allow", "deny") and ask.body is None
        body = json.loads(self.real(json.dumps(ask.body)))
        response = self.api(ask.who, ask.http, path, body, params={"nope": "1"} if is_probe else {})
        if ask.expect == "allow":
            assert response.status_code == 400 if is_probe else response.status_code not in (401, 403), ask.line
        else:
            assert response.status_code == (403 if ask.expect == "deny" else int(ask.expect)), ask.line + response.text
        if response.status_code == 403:
            assert error_of(response)["status"] == "PERMISSION_DENIED"
        assert self.real(ask.shows) in response.text
