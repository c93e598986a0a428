"""Our rows and messages beside the discovery document that google-api-python-client ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import googleapiclient
import pytest

from mlgate.api.messages.message import Message, Type, fields_of
from mlgate.api.method import POST, Method
from mlgate.api.methods.storage import ROWS
from mlgate.api.params import SYSTEM

DOCUMENT: dict[str, Any] = json.loads(
    (Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "storage.v1.json").read_text()
)
#: Groups that this server does not have at all: their addresses are not found.
ABSENT = (
    "anywhereCaches",
    "buckets.operations",
    "channels",
    "folders",
    "managedFolders",
    "projects.hmacKeys",
    "rapidCaches",
)


def methods(node: dict[str, Any]) -> dict[str, Any]:
    found = {method["id"]: method for method in node.get("methods", {}).values()}
    for inner in node.get("resources", {}).values():
        found |= methods(inner)
    return found


GOOGLE = methods(DOCUMENT)


def row_of(method_id: str) -> Method | None:
    """The row at the address that the document gives; uploads have more addresses."""
    return next((row for row in ROWS if row.id == method_id), None)


@pytest.mark.parametrize("method_id", [m for m in GOOGLE if not m.removeprefix("storage.").startswith(ABSENT)])
def test_each_method_has_a_row_with_googles_verb_path_and_parameters(method_id: str) -> None:
    google, row = GOOGLE[method_id], row_of(method_id)
    assert row is not None, f"add a row for {method_id} to api/methods/storage.py"
    assert (row.http, row.path) == (google["httpMethod"], "storage/v1/" + google["path"])
    query = {name for name, parameter in google["parameters"].items() if parameter["location"] == "query"}
    assert set(row.query) - {"alt", "upload_id"} == query - set(SYSTEM)
    kinds = {"string": str, "integer": int, "boolean": bool}
    for name in set(row.query) & query:
        parameter = google["parameters"][name]
        assert row.query[name] is (int if parameter.get("format") == "int64" else kinds[parameter["type"]]), name
    if row.handler is not None:
        assert (row.takes.schema if row.takes else None) == google.get("request", {}).get("$ref")
        assert (row.gives.schema if row.gives else None) == google.get("response", {}).get("$ref")


def test_uploads_have_the_two_addresses_of_the_document() -> None:
    protocols = GOOGLE["storage.objects.insert"]["mediaUpload"]["protocols"]
    expected = {protocol["path"].lstrip("/") for protocol in protocols.values()} | {"storage/v1/b/{bucket}/o"}
    assert {row.path for row in ROWS if row.id == "storage.objects.insert" and row.http == POST} == expected


def test_every_message_has_googles_fields_and_no_others() -> None:
    wrong: list[str] = []
    for row in ROWS:
        for message in (row.takes, row.gives):
            if message is not None:
                compare(message, DOCUMENT["schemas"][message.schema], message.schema, wrong)
    assert wrong == []


def compare(message: type[Message], schema: dict[str, Any], where: str, wrong: list[str]) -> None:
    if "$ref" in schema:
        schema = DOCUMENT["schemas"][schema["$ref"]]
    ours = {field.wire: field.type for field in fields_of(message)}
    theirs = schema["properties"]
    wrong += [f"{where}.{name}" for name in ours.keys() ^ theirs.keys()]
    for name in ours.keys() & theirs.keys():
        compare_type(ours[name], theirs[name], f"{where}.{name}", wrong)


def compare_type(kind: Type, schema: dict[str, Any], where: str, wrong: list[str]) -> None:
    if kind.item is not None:
        compare_type(kind.item, schema["items"], where, wrong)
    elif kind.values is not None:
        compare_type(kind.values, schema["additionalProperties"], where, wrong)
    elif kind.message is not None:
        compare(kind.message, schema, where, wrong)
    elif kind.scalar is not None:
        described = dict(kind.scalar.described)
        if (described["type"], described.get("format")) != (schema.get("type"), schema.get("format")):
            wrong.append(f"{where}: {described} is not {schema.get('type')} {schema.get('format')}")
