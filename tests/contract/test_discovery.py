"""Our rows and messages against the discovery documents that `google-api-python-client` ships.

The documents are the yardstick, not a part: nothing of them is copied. For `ml` v1 the comparison goes both ways; for
the neighbours it holds for the methods that we have, and their messages may leave fields out but not add or rename any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient
import httpx
import jsonschema_rs
import pytest
from googleapiclient.discovery import build_from_document
from schemathesis.specs.openapi.definitions import OPENAPI_30

from mlgate.api import discovery
from mlgate.api.methods import registry
from tests.harness import Server

_DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
_BASE = "http://127.0.0.1:1"
#: D2 has it and Google's document no longer does (requirements, C-03).
OURS_ALONE = {"ml.projects.operations.delete"}
#: Methods of the neighbours that we have to have (issues 2 and 3), by API and, where it is not v1, version.
NEIGHBOURS = {
    "iam": """
        projects.serviceAccounts: create get list patch delete undelete disable enable getIamPolicy setIamPolicy
        projects.serviceAccounts: testIamPermissions
        projects.serviceAccounts.keys: create get list delete disable enable upload
        projects.roles: create get list patch delete undelete
        organizations.roles: create get list patch delete undelete
        roles: get list queryGrantableRoles
        permissions: queryTestablePermissions
        iamPolicies: lintPolicy
    """,
    "cloudidentity": """
        groups: create get list search lookup patch delete
        groups.memberships: create get list lookup delete modifyMembershipRoles checkTransitiveMembership
        groups.memberships: searchTransitiveGroups searchTransitiveMemberships searchDirectGroups getMembershipGraph
    """,
    "cloudresourcemanager": """
        projects: create get list update delete undelete getAncestry getIamPolicy setIamPolicy testIamPermissions
        organizations: get search getIamPolicy setIamPolicy testIamPermissions
        operations: get
    """,
    "cloudresourcemanager.v2": """
        folders: create get list search patch move delete undelete getIamPolicy setIamPolicy testIamPermissions
    """,
    "cloudresourcemanager.v3": """
        folders: create get list search patch move delete undelete getIamPolicy setIamPolicy testIamPermissions
        projects: create get list search patch move delete undelete getIamPolicy setIamPolicy testIamPermissions
        organizations: get search getIamPolicy setIamPolicy testIamPermissions
        operations: get
    """,
    "logging.v2": """
        entries: list
    """,
}


@cache
def google(api: str) -> dict[str, Any]:
    name, _, version = api.partition(".")
    document: dict[str, Any] = json.loads((_DOCUMENTS / f"{name}.{version or 'v1'}.json").read_text())
    return document


@cache
def ours(api: str) -> dict[str, Any]:
    name, _, version = api.partition(".")
    return discovery.document(registry(), name, _BASE, version or "v1")


_TOLD = ("type", "format", "location", "required", "pattern", "repeated")
#: Query parameters are str, int or bool in our rows; what that leaves out, by name. Empty this when rows can tell it.
_UNTOLD = {"updateMask": {"format"}, "etag": {"format"}, "keyTypes": {"repeated"}}

#: Names of which this server has only some.
_NARROWER = {"^operations/.*$": "^operations/[^/]+$"}


def methods(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    def walk(place: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for method in place.get("methods", {}).values():
            yield method["id"], method
        for inner in place.get("resources", {}).values():
            yield from walk(inner)

    return dict(walk(document))


def contract(method: dict[str, Any]) -> dict[str, Any]:
    """What a client depends on: verb, path, parameters, and the messages by name."""
    return {
        "http": method["httpMethod"],
        "path": method["path"],
        "order": method.get("parameterOrder", []),
        "parameters": {
            name: {k: _NARROWER.get(v, v) for k, v in p.items() if k in _TOLD and k not in _UNTOLD.get(name, ())}
            for name, p in method.get("parameters", {}).items()
        },
        "request": plain_name(method.get("request", {}).get("$ref", "")),
        "response": plain_name(method.get("response", {}).get("$ref", "")),
    }


def plain_name(schema: str) -> str:
    """`GoogleIamV1__Policy` of ml is `Policy` of iam: one message here, so the prefixes are left out."""
    return schema.rpartition("__")[2]


def shape(node: Any) -> Any:
    """A schema without its prose."""
    if isinstance(node, list):
        return [shape(item) for item in node]
    if not isinstance(node, dict):
        return node
    prose = ("description", "enumDescriptions", "enumDeprecated", "readOnly", "deprecated", "id")
    return {k: plain_name(v) if k == "$ref" else shape(v) for k, v in node.items() if k not in prose}


def fields(document: dict[str, Any], schema: str) -> dict[str, Any]:
    return {name: shape(field) for name, field in document["schemas"][schema].get("properties", {}).items()}


# ml v1, both ways


def test_every_ml_method_of_the_document_has_a_row() -> None:
    for method_id in methods(google("ml")):
        assert method_id in methods(ours("ml")), (
            f"{method_id} is in Google's document and in no row: add it to api/methods/ml.py, with the permission that "
            "requirements.md, section 6, says (handler=None until it works), and a line to tests/matrix/methods.txt"
        )


def test_every_ml_row_is_in_the_document() -> None:
    assert set(methods(ours("ml"))) - set(methods(google("ml"))) == OURS_ALONE


@pytest.mark.parametrize("method_id", sorted(methods(google("ml"))))
def test_an_ml_method_has_the_same_verb_path_parameters_and_messages(method_id: str) -> None:
    assert contract(methods(ours("ml"))[method_id]) == contract(methods(google("ml"))[method_id])


#: Fields that the service did not have, each with the message that is its value.
OUR_OWN = {("GoogleCloudMlV1__Version", "fasterCopy"): "Mlgate__FasterCopy"}


def test_ml_has_the_same_messages() -> None:
    unused = {"GoogleCloudMlV1__OperationMetadata"}  # travels inside Operation.metadata; no method refers to it
    reachable = _referred(google("ml"))
    assert set(ours("ml")["schemas"]) - unused - set(OUR_OWN.values()) == reachable


def _referred(document: dict[str, Any]) -> set[str]:
    """The schemas that the methods of a document refer to, directly or not."""
    found: set[str] = set()
    queue = re.findall(r'"\$ref": "(\w+)"', json.dumps(document["resources"]))
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += re.findall(r'"\$ref": "(\w+)"', json.dumps(document["schemas"][name]))
    return found


@pytest.mark.parametrize("schema", sorted(set(ours("ml")["schemas"]) - set(OUR_OWN.values())))
def test_an_ml_message_has_the_same_fields_types_formats_and_enums(schema: str) -> None:
    mine = {name: field for name, field in fields(ours("ml"), schema).items() if (schema, name) not in OUR_OWN}
    assert mine == fields(google("ml"), schema)


def test_the_fields_of_our_own_are_what_they_are_said_to_be() -> None:
    for (schema, field), message in OUR_OWN.items():
        assert fields(ours("ml"), schema)[field] == {"$ref": plain_name(message)}
        assert message in ours("ml")["schemas"]


# The neighbours, for what we have


def expected_ids(api: str) -> list[str]:
    lines = [line.split(":") for line in NEIGHBOURS[api].split("\n") if line.strip()]
    return [f"{api.partition('.')[0]}.{place.strip()}.{name}" for place, names in lines for name in names.split()]


@pytest.mark.parametrize("api", NEIGHBOURS)
def test_a_neighbour_has_the_methods_that_clients_need(api: str) -> None:
    assert set(expected_ids(api)) <= set(methods(ours(api)))


@pytest.mark.parametrize(("api", "method_id"), [(api, m) for api in NEIGHBOURS for m in sorted(methods(ours(api)))])
def test_a_neighbours_method_has_the_same_verb_path_parameters_and_messages(api: str, method_id: str) -> None:
    assert method_id in methods(google(api)), f"{method_id} is no method of {api}"
    assert contract(methods(ours(api))[method_id]) == contract(methods(google(api))[method_id])


@pytest.mark.parametrize(("api", "schema"), [(api, s) for api in NEIGHBOURS for s in sorted(ours(api)["schemas"])])
def test_a_neighbours_message_adds_and_renames_nothing(api: str, schema: str) -> None:
    theirs = fields(google(api), plain_name(schema))
    mine = fields(ours(api), schema)
    assert mine == {name: theirs.get(name, "no such field in the document") for name in mine}


# Our own descriptions work


@pytest.mark.parametrize("api", ["ml", *NEIGHBOURS])
def test_our_document_builds_a_client(api: str) -> None:
    with build_from_document(ours(api), http=_NoHttp()) as client:
        assert all(getattr(client, resource)() for resource in ours(api)["resources"])


class _NoHttp:
    """A transport that is never used."""

    def close(self) -> None:
        pass


def test_the_served_document_has_our_address_as_its_root(server: Server) -> None:
    for path in ("/$discovery/rest?version=v1", "/discovery/v1/apis/ml/v1/rest"):
        served = httpx.get(server.url + path).json()
        assert served == discovery.document(registry(), "ml", server.url)
        assert served["rootUrl"] == server.url + "/"
    assert httpx.get(f"{server.url}/openapi.json").json() == discovery.openapi(registry())
    assert httpx.get(f"{server.url}/discovery/v1/apis/nope/v1/rest").status_code == 404
    assert httpx.get(f"{server.url}/$discovery/rest?version=v9").status_code == 404


def test_openapi_is_valid_and_has_every_row() -> None:
    document = json.loads(json.dumps(discovery.openapi(registry())))
    jsonschema_rs.validate(OPENAPI_30, document)
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))) <= set(
        document["components"]["schemas"]
    )
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len(operations) == len(registry().rows)
    assert len({op["operationId"] for op in operations}) == len(operations)
