"""Descriptions of our own API, drawn from the rows and messages: Google's discovery format, and OpenAPI 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from mlgate.api.messages.message import Message, describe, reachable
from mlgate.api.method import Method, Public, Registry, Style, Variable

#: (API, version) -> title of the documents that are served.
APIS: Mapping[tuple[str, str], str] = {
    ("ml", "v1"): "AI Platform Training & Prediction API, as served by mlgate",
    ("iam", "v1"): "Identity and Access Management API, as served by mlgate",
    ("cloudasset", "v1"): "Cloud Asset API, as served by mlgate",
    ("logging", "v2"): "Cloud Logging API, as served by mlgate",
    ("iam", "v2"): "Identity and Access Management API, as served by mlgate",
    ("cloudidentity", "v1"): "Cloud Identity API, as served by mlgate",
    ("policytroubleshooter", "v1"): "Policy Troubleshooter API, as served by mlgate",
    ("policytroubleshooter", "v3"): "Policy Troubleshooter API, as served by mlgate",
    ("cloudresourcemanager", "v1"): "Cloud Resource Manager API, as served by mlgate",
    ("cloudresourcemanager", "v2"): "Cloud Resource Manager API, as served by mlgate",
    ("cloudresourcemanager", "v3"): "Cloud Resource Manager API, as served by mlgate",
}
_TYPES: Mapping[type, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int32"},
    bool: {"type": "boolean"},
    list[str]: {"type": "string", "repeated": True},
}
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SYSTEM = {
    "$.xgafv": "string", "access_token": "string", "alt": "string", "callback": "string", "fields": "string",
    "key": "string", "oauth_token": "string", "prettyPrint": "boolean", "quotaUser": "string",
    "upload_protocol": "string", "uploadType": "string",
}  # fmt: skip


def document(registry: Registry, api: str, base_url: str, version: str = "v1") -> dict[str, Any]:
    """The discovery document of one API, with this server's address as its root."""
    root = base_url.rstrip("/") + "/"
    return {**_rootless(registry, api, version), "rootUrl": root, "baseUrl": root}


@cache
def _rootless(registry: Registry, api: str, version: str) -> dict[str, Any]:
    """All of the document that does not depend on who asks; drawn once."""
    rows = [row for row in registry.rows if (row.api, row.version) == (api, version)]
    schemas: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    for row in rows:
        for message in (row.takes, row.gives):
            if message is not None:
                schemas.update({k: describe(m) for k, m in reachable(message).items()})
        *path, name = row.id.split(".")[1:]
        path = path or [version]  # where Google's documents put a method of the API itself
        place: dict[str, Any] = {"resources": resources}
        for part in path:
            place = place.setdefault("resources", {}).setdefault(part, {})
        # predict and explain have a row per kind of resource: one method whose name may be either
        place.setdefault("methods", {}).setdefault(name, _method(row, registry))
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": f"{api}:{version}",
        "name": api,
        "version": version,
        "title": APIS[api, version],
        "protocol": "rest",
        "servicePath": "",
        "batchPath": "batch",
        "auth": {"oauth2": {"scopes": {_SCOPE: {"description": "All that the token's principal may do"}}}},
        "parameters": {name: {"type": kind, "location": "query"} for name, kind in _SYSTEM.items()},
        "schemas": dict(sorted(schemas.items())),
        "resources": resources,
    }


def _method(row: Method, registry: Registry) -> dict[str, Any]:
    forms = [other.template.variables for other in registry.get(row.id) if other.version == row.version]
    parameters: dict[str, Any] = {}
    for n, variable in enumerate(row.template.variables):
        pattern = _pattern([form[n] for form in forms])
        parameters[variable.name] = {"type": "string", "location": "path", "required": True} | (
            {"pattern": pattern} if "/" in variable.pattern else {}
        )
    for name, kind in row.query.items():
        parameters[name] = {**_TYPES[kind], "location": "query"}
    described: dict[str, Any] = {
        "id": row.id,
        "httpMethod": row.http,
        "path": client_path(row),
        "flatPath": client_path(row),
        "description": row.summary,
        "parameters": parameters,
        "parameterOrder": [v.name for v in row.template.variables],
        "scopes": [_SCOPE],
    }
    if row.takes is not None and row.http != "GET":
        described["request"] = {"$ref": row.takes.schema}
    if row.gives is not None:
        described["response"] = {"$ref": row.gives.schema}
    return described


def client_path(row: Method) -> str:
    """The path with its parameters as discovery documents write them: `v1/{+parent}/models`."""

    def plain(match: re.Match[str]) -> str:
        name, _, pattern = match.group(1).partition("=")
        return f"{{+{name}}}" if pattern else f"{{{name}}}"

    return re.sub(r"\{([^}]*)\}", plain, row.path)


def _pattern(forms: list[Variable]) -> str:
    """What a parameter holds, in all the forms that its method has: `*`, too, for a segment in which they differ."""
    segments = [form.pattern.split("/") for form in forms]
    if len({len(one) for one in segments}) > 1:
        return "^projects/.*$"
    same = ["*" if len(set(each)) > 1 else each[0] for each in zip(*segments, strict=True)]
    return "^" + "/".join(same).replace("*", "[^/]+") + "$"


# ---------------------------------------------------------------------------------------------------------- OpenAPI


def openapi(registry: Registry) -> dict[str, Any]:
    """All rows as an OpenAPI 3 document: for tools that read it, our own tests among them."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for row in registry.rows:
        path, names = _openapi_path(row)
        operation: dict[str, Any] = {
            "operationId": f"{row.id}.{registry.get(row.id).index(row) + 1}",
            "summary": row.summary,
            "parameters": [
                {"name": n, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for n in names
            ]
            + [{"name": n, "in": "query", "schema": _query_schema(k)} for n, k in row.query.items()],
            "responses": {"200": {"description": "OK"}, "default": {"description": "google.rpc.Status as JSON"}},
            "security": [] if isinstance(row.requires, Public) else [{"bearer": []}],
        }
        if row.takes is not None and row.runs is not Style.STREAM:
            schemas.update({k: _json_schema(m) for k, m in reachable(row.takes).items()})
            reference = {"$ref": f"#/components/schemas/{row.takes.schema}"}
            operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
        paths.setdefault(path, {})[row.http.lower()] = operation
    return {
        "openapi": "3.0.3",
        "info": {"title": "mlgate", "version": "v1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _query_schema(kind: type) -> dict[str, Any]:
    schema = {k: v for k, v in _TYPES[kind].items() if k != "repeated"}
    return {"type": "array", "items": schema} if "repeated" in _TYPES[kind] else schema


def _openapi_path(row: Method) -> tuple[str, list[str]]:
    names: list[str] = []
    parts = []
    for before, segment in zip(("", *row.template.segments), row.template.segments, strict=False):
        if segment != "*":
            parts.append(segment)
            continue
        name = re.sub(r"(ies|s)$", lambda m: "y" if m.group(1) == "ies" else "", before) or "id"
        name = name if name not in names else f"{name}{len(names)}"
        names.append(name)
        parts.append(f"{{{name}}}")
    return "/" + "/".join(parts) + (f":{row.template.verb}" if row.template.verb else ""), names


def _json_schema(message: type[Message]) -> dict[str, Any]:
    def convert(node: Any) -> Any:
        if isinstance(node, list):
            return [convert(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return {"$ref": f"#/components/schemas/{node['$ref']}"}
        if node.get("type") == "any":
            return {}
        return {k: convert(v) for k, v in node.items() if k not in ("id", "format", "description")}

    schema: dict[str, Any] = convert(describe(message))
    return {**schema, "additionalProperties": False}
