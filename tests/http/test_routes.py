"""A walk over every row of the table: what is open, what needs a token, and what a stranger is told (incidents.md: a
route without a check, and the ids of one project with the token of another).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlgate.api.method import Method, Public
from mlgate.api.methods import registry
from tests.harness import OWNER, Server
from tests.http.people import Api, error_of

STRANGER = "user:stranger@example.com"
NAMES = {
    "projects": "routes-project", "models": "m", "locations": "us-central1", "b": "routes-bucket", "organizations": "1",
    "buckets": "routes-bucket", "policies": "cloudresourcemanager.googleapis.com%2Fprojects%2Froutes-project",
    "serviceAccounts": "x@routes-project.iam.gserviceaccount.com", "roles": "x", "apis": "ml", "ml": "v1",
}  # fmt: skip
ROWS = [pytest.param(row, id=f"{row.id} {row.http} {row.path}") for row in registry().rows]
#: All that may be called without a token. Whoever makes this longer says why in the row, and here.
OPEN = ["healthz", "readyz", "token", "session.open", "discovery", "discovery.getRest", "openapi"]

pytestmark = pytest.mark.xdist_group("routes")


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server) as made:
        made.sign_in([OWNER, STRANGER])
        made.new_project("routes-project")
        made.done(OWNER, "POST", "/v1/projects/routes-project/models", {"name": "m"})
        folder = made.done(OWNER, "POST", "/v3/folders", {"displayName": "Routes", "parent": "organizations/1"})
        NAMES["folders"] = folder["response"]["name"].partition("/")[2]
        made.done(OWNER, "POST", "/storage/v1/b", {"name": "routes-bucket"}, params={"project": "routes-project"})
        group = made.done(OWNER, "POST", "/v1/groups", {"groupKey": {"id": "routes@example.com"}})
        NAMES["groups"] = group["response"]["name"].partition("/")[2]
        yield made


def path_of(row: Method) -> str:
    """The row's path on names that exist where there are such."""
    segments = list(row.template.segments)
    for n, segment in enumerate(segments):
        if segment == "*":
            segments[n] = NAMES.get(segments[n - 1], "x")
    return "/" + "/".join(segments) + (f":{row.template.verb}" if row.template.verb else "")


def query_of(row: Method) -> dict[str, str]:
    """The probe, and what `requires` is checked on where a method is given it in the query."""
    places = {"project": "routes-project", "parent": "organizations/1"}
    return {"nope": "1", **{name: place for name, place in places.items() if name in row.query}}


def test_the_open_routes_are_these() -> None:
    assert [row.id for row in registry().rows if isinstance(row.requires, Public)] == [
        f"mlgate.{name}" for name in OPEN
    ]


@pytest.mark.parametrize("row", ROWS)
def test_every_other_route_needs_a_token(api: Api, row: Method) -> None:
    response = api("", row.http, path_of(row), params=query_of(row))
    if isinstance(row.requires, Public):
        assert response.status_code in (200, 400)
    else:
        assert (response.status_code, error_of(response)["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("row", ROWS)
def test_a_stranger_is_told_nothing(api: Api, row: Method) -> None:
    response = api(STRANGER, row.http, path_of(row), params=query_of(row))
    if isinstance(row.requires, str):
        assert (response.status_code, error_of(response)["status"]) == (403, "PERMISSION_DENIED")
    else:
        assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("row", ROWS)
def test_the_owner_gets_past_authorization(api: Api, row: Method) -> None:
    """Nothing is denied to the owner of the project but what belongs to the organization or to what does not exist."""
    response = api(OWNER, row.http, path_of(row), params=query_of(row))
    elsewhere = ("organizations/", "scope=folders/", "iam.serviceAccounts.actAs")
    is_elsewhere = row.path.startswith("v1/{parent=organizations") or row.on.startswith("organizations/")
    is_elsewhere |= any(text in row.path for text in elsewhere)
    is_nowhere = row.on_body is not None  # the resource is in the body, which is empty here
    if not (response.status_code == 403 and (is_elsewhere or is_nowhere)):
        assert response.status_code in (200, 400), response.text
