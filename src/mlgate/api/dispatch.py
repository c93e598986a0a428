"""The one door. Every call goes through `answer`, whose steps are AIP-211's, in order:

    route -> identify -> authorize -> read and validate the body -> authorize what the body names
          -> handler in a transaction, authorized again there -> audit in the same transaction -> encode

Authorization comes before validation, and a caller without the right learns nothing more: not whether the resource
exists, not what is wrong with the body. (Where the body alone names the resource, it is read before, for that name
only.) It is repeated where time may have passed: after the body was read, and inside a writing transaction, where the
store's revision is exact. So a slow upload cannot outlive a revocation, and a reader who was revoked sees nothing that
is newer than the revocation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from mlgate.api import audit, params, partial
from mlgate.api.call import Call, Request, Response, Services, denied
from mlgate.api.denials import Denials
from mlgate.api.json_body import parse
from mlgate.api.messages.message import Message, decode, encode
from mlgate.api.method import Audit, Authenticated, Method, Style
from mlgate.api.routing import Router
from mlgate.core.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RpcError,
    Unauthenticated,
    Unimplemented,
)
from mlgate.core.iam.principals import ANONYMOUS
from mlgate.ports import Author, Token
from mlgate.turns import TURNS

log = structlog.get_logger("mlgate.api")

Decide = Callable[[str, str, str], bool]


class _Turn:
    """The store's revision, read once for all requests that were here before it was read.

    All requests that begin in one turn (`turns.py`) have come before any of them begins, so a read by the first of them
    is young enough for all; at the turn's end it is forgotten.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._revision: int | None = None

    def refresh(self) -> int:
        """The snapshot brought to a revision that the store held at, or after, the arrival of this turn's requests."""
        if self._revision is None:
            TURNS.at_end(asyncio.get_running_loop(), self._over)
            self._revision = self._services.snapshot.refresh()
        return self._revision

    def _over(self) -> None:
        self._revision = None


class _Meaning(NamedTuple):
    """What a request's head says: who calls for what. The names that it gives may mean something else at another
    revision; whether its token still holds is asked every time."""

    revision: int
    row: Method
    token: Token | None
    principal: str
    names: dict[str, str]
    resource: str


class Door:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = _Turn(services)
        self._executor = services.executor
        self._router = Router(services.registry.rows)
        self._denials = Denials(services.store)

    async def answer(self, request: Request) -> Response:
        """The answer to a request. Raises RpcError."""
        call = self._call(request)
        row = call.method
        try:
            if row.on_body is None:
                self._authorize(call, self._services.snapshot.allows)
            if row.handler is not None and row.runs is Style.STREAM:
                _read_query(call)
                return _finish(await row.handler(call), call)
            data = await request.body.read(min(row.max_body, self._services.settings.max_request))
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._unit, call, data)
        except PermissionDenied as error:
            self._note_denial(call, error)
            raise

    def close(self) -> None:
        """Store what is not stored yet."""
        self._denials.close()
        self._services.predictions.close()
        self._services.usage.close()

    # ------------------------------------------------------------------------------------------------------- who

    def identify(self, request: Request, row: Method | None = None) -> Token | None:
        """Whom the token speaks for; None where a caller without one may be let in. Raises Unauthenticated."""
        bearer = _bearer(request, self._services.settings.access_token_parameter)
        if bearer:
            return self._services.identity.identify(bearer)
        if row is None or isinstance(row.requires, Authenticated) or row.on_body is not None:
            raise _no_credentials()
        return None  # ANONYMOUS: a binding to allUsers may let them in, nothing else does

    def _call(self, request: Request) -> Call:
        """Who calls for what, on a snapshot that is brought up to date before anything is decided."""
        services = self._services
        decided = self._turn.refresh() if request.is_whole else services.snapshot.refresh()
        meaning: _Meaning | None = request.head.meaning
        if meaning is None or meaning.revision != decided:
            meaning = request.head.meaning = self._meaning(request, decided)
        elif meaning.token is not None:
            services.identity.confirm(meaning.token)
        return Call(
            services, meaning.row, request, meaning.principal, meaning.resource, meaning.names, {}, meaning.token,
            decided=decided,
        )  # fmt: skip

    def _meaning(self, request: Request, revision: int) -> _Meaning:
        row, path = self._router.match(request.http, request.raw_path)
        token = self.identify(request, row)
        names, resource = self._names_of(row, path, dict(request.query) if row.on and row.on_body is None else {})
        principal = token.principal if token is not None else ANONYMOUS
        return _Meaning(revision, row, token, principal, names, resource)

    def _names_of(self, row: Method, path: Mapping[str, str], query: Mapping[str, str]) -> tuple[dict[str, str], str]:
        """The path's parameters as the server knows them, and the resource that the permission is checked on."""
        snapshot = self._services.snapshot
        whole = {v.name for v in row.template.variables if "/" in v.pattern}  # an object's name is never rewritten
        names = {n: params.canonical(v, snapshot) if n in whole else v for n, v in path.items()}
        return names, params.canonical(row.resource({**query, **names}), snapshot)

    # ------------------------------------------------------------------------------------------------------- may

    def _authorize(self, call: Call, decide: Decide) -> None:
        """The first decision, on a snapshot and a token that were checked a moment ago."""
        requires = call.method.requires
        if isinstance(requires, str) and not decide(call.principal, requires, call.resource):
            if call.principal == ANONYMOUS:
                raise _no_credentials()
            raise self._refusal(call, requires)

    def _refusal(self, call: Call, requires: str) -> RpcError:
        """The same for what exists and what does not. Only the names of buckets are one space for all projects:
        whoever may create buckets learns by 409 which are taken, and hears of one that is not as clients expect."""
        kind, _, rest = call.resource.partition("/")
        snapshot = self._services.snapshot
        if kind == "buckets" and rest.partition("/")[0] not in snapshot.buckets:
            projects = [project.name for project in list(snapshot.projects.values())]
            if any(snapshot.allows(call.principal, "storage.buckets.create", project) for project in projects):
                return NotFound("The specified bucket does not exist.")
        return denied(requires, call.resource, call.principal)

    def _note_denial(self, call: Call, error: PermissionDenied) -> None:
        log.info("denied", **_named(call))
        if call.method.audit is Audit.ADMIN_WRITE:
            self._denials.add(audit.denial(call, error))

    # ------------------------------------------------------------------------------------------------------ unit

    def _unit(self, call: Call, data: bytes) -> Response:
        """Everything that happens on a thread: decode, handler, audit, commit."""
        row = call.method
        if row.on_body is not None:
            call.resource = params.canonical(row.resource(_named_by(row.on_body, data)), self._services.snapshot)
        call.authorize()
        _read_query(call)
        body = decode(row.takes, parse(data)) if row.takes is not None else None
        if row.takes is None and data.strip() not in (b"", b"{}") and row.http in ("GET", "DELETE"):
            raise InvalidArgument("This method takes no body.")
        if row.handler is None:
            self._check_also(call, body)
            raise Unimplemented(f"{row.id} is not implemented by this server.")
        if row.runs is Style.READ:
            with self._services.store.read() as call.tx:
                if call.tx.revision() != call.decided:
                    call.authorize()  # what is read now is no newer than the decision to show it
                self._check_also(call, body)
                result = _run(call, body)
            return _finish(result, call)
        with self._services.store.write() as call.tx:
            call.authorize()  # nobody else can write now: this answer still holds at the commit
            call.tx.author = Author(call.principal, call.now)
            self._check_also(call, body)
            call.because = audit.deciding_grant(call) if row.audit is Audit.ADMIN_WRITE else None
            result = _run(call, body)
            if row.audit is Audit.ADMIN_WRITE:
                call.tx.audit(audit.entry(call, "OK"))
        log.info("written", **_named(call))
        return _finish(result, call)

    def _check_also(self, call: Call, body: Message | None) -> None:
        for need in call.method.also(call, body) if call.method.also else ():
            if not any(call.may(permission, need.resource) for permission in need.permissions):
                raise denied(need.permissions[0], need.resource, call.principal)


def _no_credentials() -> Unauthenticated:
    return Unauthenticated(
        "Request is missing required authentication credential. Expected an OAuth 2 access token in the header "
        '"Authorization: Bearer TOKEN".',
        reason="CREDENTIALS_MISSING",
    )


def _named(call: Call) -> dict[str, str]:
    """What a log line says of a call."""
    return {
        "method": call.method.id,
        "resource": call.resource[: audit.LONGEST],
        "principal": call.principal,
        "request_id": call.request.request_id,
    }


def _read_query(call: Call) -> None:
    """The query's parameters, all of them read before anything is done."""
    if not call.request.query:
        return
    call.query = params.decode_query(call.method, call.request.query)
    if call.query.get("fields"):
        call.fields = partial.parse(call.query["fields"])


def _run(call: Call, body: Message | None) -> Any:
    handler = call.method.handler
    assert handler is not None
    return handler(call) if body is None else handler(call, body)


def _named_by(on_body: Callable[[Mapping[str, Any]], Mapping[str, str]], data: bytes) -> Mapping[str, str]:
    """What the body gives for the resource's name; what is wrong with it is told after authorization."""
    try:
        body = parse(data)
    except InvalidArgument:
        body = None
    return on_body(body if isinstance(body, dict) else {})


def _bearer(request: Request, parameter: bool) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    for name, value in request.query:
        if name in ("access_token", "oauth_token") and value:
            if parameter:
                return value
            raise Unauthenticated(
                f"{name} in a query string is not accepted here: send it in the Authorization header."
            )
    return ""


def _finish(result: Any, call: Call) -> Response:
    if isinstance(result, Response):
        return result
    body = encode(result) if isinstance(result, Message) else result
    if call.fields is not None:
        body = partial.partial(body, call.fields)
    encoded = msgspec.json.encode(body)
    if call.query.get("prettyPrint", True) is not False:
        encoded = msgspec.json.format(encoded, indent=2) + b"\n"
    return Response(body=encoded)
