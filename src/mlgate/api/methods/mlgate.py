"""What the server has of its own: health, sign-in, its description, the history of policies, access reviews. The list
of open routes is here and short."""

from __future__ import annotations

from mlgate.api.handlers import sign_in, studies, system, tokens
from mlgate.api.messages.message import Empty
from mlgate.api.messages.sign_in import ExchangeCodeRequest, Session
from mlgate.api.messages.studies import Plot
from mlgate.api.method import GET, POST, Audit, Authenticated, Method, Public, Style
from mlgate.api.methods import access, metrics, policy_history

_DESCRIPTION = Public("describes methods and messages, which are the same for everybody")

ROWS: tuple[Method, ...] = (
    Method("mlgate.healthz", GET, "healthz", Public("watchdogs have no account"), system.healthz, style=Style.STREAM,
           summary="Whether the process is alive"),
    Method("mlgate.readyz", GET, "readyz", Public("watchdogs have no account"), system.readyz, style=Style.STREAM,
           summary="Whether the server can answer calls"),
    Method("mlgate.token", POST, "token", Public("the signed assertion is the credential"), tokens.exchange,
           style=Style.STREAM, audit=Audit.DATA_WRITE, summary="Exchange a key's assertion for an access token"),
    Method("mlgate.session.open", POST, "session:open", Public("the one-time code is the credential"),
           sign_in.exchange_code, takes=ExchangeCodeRequest, gives=Session, style=Style.STREAM, audit=Audit.DATA_WRITE,
           summary="Exchange a link's one-time code for an access token"),
    Method("mlgate.session.get", GET, "session", Authenticated("callers are told of their own token alone"),
           sign_in.get_session, gives=Session, summary="Who the token speaks for, and until when"),
    Method("mlgate.session.end", POST, "session:end", Authenticated("callers end their own token alone"),
           sign_in.end_session, gives=Empty, audit=Audit.DATA_WRITE, summary="End the token that the call bears"),
    Method("mlgate.discovery", GET, "$discovery/rest", _DESCRIPTION, system.discovery, query={"version": str},
           style=Style.STREAM, summary="The discovery document of ml v1"),
    Method("mlgate.discovery.getRest", GET, "discovery/v1/apis/{api}/{version}/rest", _DESCRIPTION,
           system.discovery_of, style=Style.STREAM, summary="The discovery document of one API"),
    Method("mlgate.openapi", GET, "openapi.json", _DESCRIPTION, system.openapi, style=Style.STREAM,
           summary="All methods as an OpenAPI document"),
    Method("mlgate.studies.plot", GET, "v1/{name=projects/*/locations/*/studies/*}:plot", "ml.trials.get", studies.plot,
           gives=Plot, query={"kind": str, "metric": str, "first": str, "second": str}, style=Style.STREAM,
           summary="What a plot shows: history, parallelCoordinates, slice, paretoFront, importance or contour"),
    *metrics.ROWS,
    *policy_history.ROWS,
    *access.ROWS,
)  # fmt: skip
