"""Our own methods of access reviews: the flat list, and the models that a caller may use."""

from __future__ import annotations

from mlgate.api.handlers import access
from mlgate.api.messages.cloudasset import ListAccessResponse
from mlgate.api.messages.models import ListModelsResponse
from mlgate.api.method import GET, Authenticated, Method
from mlgate.api.methods.cloudasset import MAY_REVIEW, SCOPES

_QUERY: dict[str, type] = {
    "resource": str,
    "principal": str,
    "permissions": list[str],
    "roles": list[str],
    "expandResources": bool,
    "includeIneffective": bool,
    "accessTime": str,
    "pageSize": int,
    "pageToken": str,
}

ROWS: tuple[Method, ...] = (
    *(
        Method("mlgate.access.list", GET, f"v1/{{scope={pattern}}}:listAccess", MAY_REVIEW, access.list_access,
               gives=ListAccessResponse, query=_QUERY,
               summary=f"List who has access to what in {words}, grant by grant")
        for pattern, words in SCOPES.items()
    ),
    Method("mlgate.models.search", GET, "v1/{parent=projects/*}/models:search",
           Authenticated("the answer holds only models on which the caller has the permission"),
           access.search_models, gives=ListModelsResponse,
           query={"permission": str, "pageSize": int, "pageToken": str},
           summary="Search the models of a project for those that the caller may read or use"),
)  # fmt: skip
