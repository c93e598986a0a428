"""Health, and the server's description of itself."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import msgspec

from mlgate import __version__
from mlgate.api import discovery as documents
from mlgate.api.call import Call, Response
from mlgate.core.errors import NotFound


async def healthz(call: Call) -> dict[str, Any]:
    return {"status": "ok", "version": __version__, **call.services.health()}


async def readyz(call: Call) -> Response:
    """200 once the database answers and the worker does, else 503."""
    revision = await asyncio.get_running_loop().run_in_executor(call.services.executor, call.services.store.revision)
    return Response(body=msgspec.json.encode({"status": "ready", "revision": revision}))


async def discovery(call: Call) -> Response:
    return await _document(call, "ml", call.query.get("version", "v1"))


async def discovery_of(call: Call) -> Response:
    return await _document(call, call.params["api"], call.params["version"])


async def _document(call: Call, api: str, version: str) -> Response:
    if (api, version) not in documents.APIS:
        raise NotFound(f"There is no API {api} {version}; there are {', '.join(map(' '.join, documents.APIS))}.")
    base = call.settings.public_url or call.request.base_url
    return Response(body=msgspec.json.encode(documents.document(call.services.registry, api, base, version)))


@cache
def _openapi_bytes(registry: Any) -> bytes:
    return msgspec.json.encode(documents.openapi(registry))


async def openapi(call: Call) -> Response:
    return Response(body=_openapi_bytes(call.services.registry))
