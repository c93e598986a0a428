"""Every role x every method x {project, resource, other resource, other project} x {own, someone else's}.

Over HTTP with real tokens, in both catalogues (requirements, section 8).

The probe is `?nope=1`: query parameters are read after authorization, so a call that is allowed answers 400 and changes
nothing, and a call that is denied answers 403. A batch job's model is named in the body, so that one row is asked for
real: 501, as jobs come later.

"Own" is made as in life: everybody is a Developer for a moment, creates a model and patches it, and so is the owner of
both the model and the operation. The owner roles of jobs, which cannot be created yet, and of operations of studies are
written into the store, as their methods do; so is a role on someone else's operation,
which only the server may bind (C-23).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import httpx
import pytest

from mlgate.core.iam.policy import Binding, Policy
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of, writing
from tests.matrix import golden

pytestmark = pytest.mark.xdist_group("matrix")

PLACES = ("project", "resource", "other resource", "other project")
#: The kind of resource on which a role may be bound besides the project (C-23).
KIND_OF = {
    "roles/ml.modelOwner": "model",
    "roles/ml.modelUser": "model",
    "roles/ml.jobOwner": "job",
    "roles/ml.operationOwner": "operation",
}
HERE, ELSEWHERE = "matrix-here", "matrix-elsewhere"
#: Where resources of a kind are; studies make their operations below a location.
COLLECTIONS = {"model": ["models"], "job": ["jobs"], "operation": ["operations", "locations/us-central1/operations"]}


@dataclass(frozen=True)
class Caller:
    """Somebody who holds one role in one place."""

    role: str
    place: str

    @property
    def id(self) -> str:
        return f"{self.role.rpartition('/')[2]}-{self.place}".replace(" ", "-").replace(".", "-").lower()

    @property
    def principal(self) -> str:
        return f"user:{self.id}@example.com"

    def model_id(self) -> str:
        return self.id.replace("-", "_")


def callers(catalogue: str) -> list[Caller]:
    pairs = product(golden.roles(catalogue), PLACES)
    return [Caller(role, place) for role, place in pairs if "resource" not in place or role in KIND_OF]


@dataclass
class World:
    """The server, and what each caller's calls are to name: kind -> id, for their own and for someone else's."""

    api: Api
    catalogue: str
    own: dict[Caller, dict[str, str]]
    others: dict[Caller, dict[str, str]]


@pytest.fixture(scope="module", params=golden.CATALOGUES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    if request.param == "documented":
        with Api(request.getfixturevalue("server")) as api:
            yield build(api, request.param)
        return
    server = Server(tmp_path_factory.mktemp("google") / "data", settings={"MLGATE_ROLE_CATALOGUE": request.param})
    with Api(server.initialize().start()) as api:
        yield build(api, request.param)
    server.stop()


def build(api: Api, catalogue: str) -> World:
    people = callers(catalogue)
    api.sign_in([OWNER, *(caller.principal for caller in people)])
    here, elsewhere = api.new_project(HERE), api.new_project(ELSEWHERE)
    everybody = [caller.principal for caller in people]
    assert api.bind(here, {"roles/ml.developer": everybody}).status_code == 200
    own = {caller: make_resources(api, caller.principal, caller.model_id()) for caller in people}
    by_place = {"resource": make_resources(api, OWNER, "shared"), "other resource": make_resources(api, OWNER, "other")}
    strange = make_resources(api, OWNER, "strange")
    for place, project in (("project", here), ("other project", elsewhere)):
        bound: dict[str, list[str]] = {"roles/owner": [OWNER]}
        for caller in people:
            if caller.place == place:
                bound.setdefault(caller.role, []).append(caller.principal)
        assert api.bind(project, bound).status_code == 200
    assign_roles_on_resources(api, people, own, by_place)
    others = {caller: strange if caller.place != "resource" else by_place["resource"] for caller in people}
    return World(api, catalogue, own, others)


def make_resources(api: Api, principal: str, model_id: str) -> dict[str, str]:
    """A model and an operation of this principal's; the job and the study are names."""
    api.done(principal, "POST", f"/v1/projects/{HERE}/models", {"name": model_id})
    mask = {"updateMask": "description"}
    path = f"/v1/projects/{HERE}/models/{model_id}"
    operation = api.done(principal, "PATCH", path, {"description": "mine"}, params=mask)["name"]
    return {"model": model_id, "operation": operation.rpartition("/")[2], "job": f"job_{model_id}", "study": "s"}


def assign_roles_on_resources(
    api: Api, people: list[Caller], own: dict[Caller, dict[str, str]], by_place: dict[str, dict[str, str]]
) -> None:
    """Models through the API, added to the owner's binding; jobs and operations in the store (see above)."""
    for place, resources in by_place.items():
        bound: dict[str, list[str]] = {"roles/ml.modelOwner": [OWNER]}
        for caller in people:
            if caller.place == place and KIND_OF[caller.role] == "model":
                bound.setdefault(caller.role, []).append(caller.principal)
        assert api.bind(f"/v1/projects/{HERE}/models/{resources['model']}", bound).status_code == 200
    with writing(api.server) as tx:
        for kind, role in (("job", "roles/ml.jobOwner"), ("operation", "roles/ml.operationOwner")):
            for place, resources in by_place.items():
                members = tuple(c.principal for c in people if c.place == place and KIND_OF[c.role] == kind)
                for collection in COLLECTIONS[kind]:
                    tx.set_policy(f"projects/{HERE}/{collection}/{resources[kind]}", Policy((Binding(role, members),)))
            for caller, resources in own.items():
                for collection in set(COLLECTIONS[kind]) - {"operations"}:
                    name = f"projects/{HERE}/{collection}/{resources[kind]}"
                    tx.set_policy(name, Policy((Binding(role, (caller.principal,)),)))


def expected(catalogue: str, caller: Caller, row: golden.Row, is_own: bool) -> bool:
    """What the golden tables allow: the role where it is bound, and the owner role on one's own."""
    roles = golden.roles(catalogue)
    held = {kind: set(roles[caller.role] if caller.place == "project" else ()) for kind in (*COLLECTIONS, "study")}
    held["project"] = set(held["model"])
    if is_own:
        for kind, role in golden.OWNER_ROLES.items():
            held[kind] |= roles[role]
    elif caller.place == "resource":
        held[KIND_OF[caller.role]] |= roles[caller.role]
    return row.allowed(held)


def ask(world: World, caller: Caller, row: golden.Row, resources: dict[str, str]) -> httpx.Response:
    path = row.path.format(
        p=HERE, m=resources["model"], v="v", j=resources["job"], o=resources["operation"], l="us-central1", s="s", t="1"
    )
    if "+" not in row.on:
        return world.api(caller.principal, row.http, path, params={"nope": "1"})
    model = f"projects/{HERE}/models/{resources['model']}"
    return world.api(caller.principal, row.http, path, {"jobId": "j", "predictionInput": {"modelName": model}})


def test_every_role_may_do_exactly_what_the_golden_tables_say(world: World) -> None:
    wrong, asked = [], 0
    for caller, row, is_own in product(world.own, golden.methods(), (True, False)):
        resources = (world.own if is_own else world.others)[caller]
        response = ask(world, caller, row, resources)
        asked += 1
        allowed = expected(world.catalogue, caller, row, is_own)
        code = 400 if allowed else 403
        status = error_of(response)["status"]
        if response.status_code != code or (status == "PERMISSION_DENIED") is allowed:
            whose = "own" if is_own else "someone else's"
            wrong.append(
                f"{caller.role} on the {caller.place}, {whose} {row.kind}: {row.id} answered {response.status_code} "
                f"{status}, expected {code}"
            )
    assert not wrong, f"{len(wrong)} of {asked}:\n" + "\n".join(wrong[:40])
    assert asked == len(world.own) * 51 * 2


def test_a_denial_names_permission_and_resource_and_not_whether_it_exists(world: World) -> None:
    nobody = Caller("roles/viewer", "other project")
    for row in golden.methods():
        if row.requires == "none":
            continue
        response = ask(world, nobody, row, world.others[nobody])
        error = error_of(response)
        permission = row.requires.partition("+")[0]
        assert error["message"].startswith(f"Permission '{permission}' denied on resource 'projects/{HERE}")
        assert error["message"].endswith(f"' (or it may not exist) for '{nobody.principal}'.")
        assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
        assert error["details"][0]["metadata"]["permission"] == permission


def test_without_a_token_every_method_answers_401(world: World) -> None:
    for row in golden.methods():
        path = row.path.format(p=HERE, m="m", v="v", j="j", o="o", l="us-central1", s="s", t="1")
        response = world.api("", row.http, path)
        assert (response.status_code, error_of(response)["status"]) == (401, "UNAUTHENTICATED"), row.id
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_roles_that_do_not_belong_on_a_model_cannot_be_bound_there(world: World) -> None:
    for role in golden.roles(world.catalogue):
        response = world.api.bind(f"/v1/projects/{HERE}/models/other", {role: ["user:x@example.com"]})
        if KIND_OF.get(role) == "model":
            assert response.status_code == 200
        else:
            assert (response.status_code, error_of(response)["status"]) == (400, "INVALID_ARGUMENT"), role
            assert "not supported for this resource" in error_of(response)["message"]


def test_every_role_can_be_bound_on_a_project(world: World) -> None:
    for role in golden.roles(world.catalogue):
        bound = {"roles/owner": [OWNER]} | {role: [OWNER, "user:x@example.com"]}
        assert world.api.bind(f"/v1/projects/{ELSEWHERE}", bound).status_code == 200, role


def test_a_role_of_the_other_catalogue_does_not_exist(world: World) -> None:
    response = world.api.bind(f"/v1/projects/{ELSEWHERE}", {"roles/ml.editor": ["user:x@example.com"]})
    assert response.status_code == (200 if world.catalogue == "google" else 400)
