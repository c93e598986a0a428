"""What the server has of its own: health, sign-in, and its description. The list of open routes is here and short."""

from __future__ import annotations

from mlgate.api.handlers import system, tokens
from mlgate.api.method import GET, POST, Audit, Method, Public, Style

_DESCRIPTION = Public("describes methods and messages, which are the same for everybody")

ROWS: tuple[Method, ...] = (
    Method("mlgate.healthz", GET, "healthz", Public("watchdogs have no account"), system.healthz, style=Style.STREAM,
           summary="Whether the process is alive"),
    Method("mlgate.readyz", GET, "readyz", Public("watchdogs have no account"), system.readyz, style=Style.STREAM,
           summary="Whether the server can answer calls"),
    Method("mlgate.token", POST, "token", Public("the signed assertion is the credential"), tokens.exchange,
           style=Style.STREAM, audit=Audit.DATA_WRITE, summary="Exchange a key's assertion for an access token"),
    Method("mlgate.discovery", GET, "$discovery/rest", _DESCRIPTION, system.discovery, query={"version": str},
           style=Style.STREAM, summary="The discovery document of ml v1"),
    Method("mlgate.discovery.getRest", GET, "discovery/v1/apis/{api}/{version}/rest", _DESCRIPTION,
           system.discovery_of, style=Style.STREAM, summary="The discovery document of one API"),
    Method("mlgate.openapi", GET, "openapi.json", _DESCRIPTION, system.openapi, style=Style.STREAM,
           summary="All methods as an OpenAPI document"),
)  # fmt: skip
