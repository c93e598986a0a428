"""The token endpoint: a signed assertion of a service account's key for an access token (RFC 7523).

Errors are in OAuth's form, not Google's (RFC 6749, 5.2). They never repeat the assertion.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec

from mlgate.api.call import Call, Response
from mlgate.core.errors import RpcError
from mlgate.core.names import join
from mlgate.ports import Record, Transaction

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: What Google's clients put there even when the key file names our own endpoint (api.md rule 5).
_GOOGLE_AUDIENCES = frozenset(
    {
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)
_SKEW, _LONGEST = 60, 3600


class _Refused(Exception):
    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


_REFUSED = _Refused("invalid_grant", "Invalid grant: account or key not found, or disabled.")
_KEY_ID = re.compile(r"[0-9a-f]{40}")


async def exchange(call: Call) -> Response:
    """Answer {"access_token", "expires_in", "token_type"}, or {"error", "error_description"} with 400 or 401."""
    raw = await call.request.body.read(64 << 10)
    try:
        assertion = _assertion(raw)
        proven = await call.on_thread(lambda tx: _verified(call, tx, assertion))
        answer = await call.on_thread(lambda tx: _issued(call, tx, proven), write=True)
        return Response(body=msgspec.json.encode(answer), headers=[("Cache-Control", "no-store")])
    except _Refused as refused:
        body = {"error": refused.error, "error_description": refused.description}
        return Response(status=400, body=msgspec.json.encode(body), headers=[("Cache-Control", "no-store")])


def _assertion(raw: bytes) -> str:
    try:
        form = parse_qs(raw.decode(), max_num_fields=50)
    except ValueError:
        raise _Refused("invalid_request", "The body is not a form.") from None
    grant = (form.get("grant_type") or [""])[0]
    if grant != GRANT:
        raise _Refused("unsupported_grant_type", f"grant_type must be {GRANT}.")
    return (form.get("assertion") or [""])[0]


@dataclass(frozen=True)
class _Proven:
    """An account whose key signed the assertion."""

    account: Record
    key_id: str


def _verified(call: Call, tx: Transaction, assertion: str) -> _Proven:
    """Whose assertion it is; nothing is written and no lock is held while strangers' text is looked at."""
    header, claims = _unverified(assertion)
    key_id = str(header.get("kid", ""))
    account, key = _key_of(call, tx, str(claims.get("iss", "")), key_id)
    try:
        claims = call.services.identity.verify(assertion, key.hidden["public"])
    except RpcError:
        raise _Refused("invalid_grant", "Invalid JWT Signature.") from None
    _check_claims(call, claims, account)
    return _Proven(account, key_id)


def _issued(call: Call, tx: Transaction, proven: _Proven) -> dict[str, Any]:
    """A token, if account and key still stand."""
    account, _ = _key_of(call, tx, proven.account.body["email"], proven.key_id)
    if account.uid != proven.account.uid:
        raise _REFUSED
    lifetime = call.settings.token_lifetime
    token, _ = call.services.identity.issue(tx, f"serviceAccount:{account.body['email']}", lifetime, account.uid)
    return {"access_token": token, "expires_in": int(lifetime), "token_type": "Bearer"}


def _unverified(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, to find the key by; nothing of them is believed before the signature is checked."""
    try:
        parts = [json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in assertion.split(".")[:2]]
        header, claims = parts
    except (ValueError, RecursionError):
        raise _Refused("invalid_grant", "The assertion is not a signed JWT.") from None
    if not isinstance(header, dict) or not isinstance(claims, dict) or header.get("alg") != "RS256":
        raise _Refused("invalid_grant", "The assertion must be a JWT signed with RS256.")
    return header, claims


def _key_of(call: Call, tx: Transaction, issuer: str, key_id: str) -> tuple[Record, Record]:
    """The account and its key, or the same refusal for all that is not there, disabled, or no key's id."""
    call.services.snapshot.refresh()
    known = call.services.snapshot.account(issuer.lower()) if _KEY_ID.fullmatch(key_id) else None
    if known is None or known.disabled:
        raise _REFUSED
    account = tx.get(join(f"projects/{known.project}", "serviceAccounts", known.email))
    key = tx.get(join(account.name, "keys", key_id)) if account is not None else None
    if account is None or account.body.get("disabled") or key is None or key.body.get("disabled"):
        raise _REFUSED
    return account, key


def _check_claims(call: Call, claims: dict[str, Any], account: Record) -> None:
    now = call.now.timestamp()
    # Never the request's own Host: whoever was handed an assertion for another server could replay it here.
    own = {f"{(call.settings.public_url or f'http://{call.settings.host}:{call.settings.port}').rstrip('/')}/token"}
    issued, expires = claims.get("iat"), claims.get("exp")
    if claims.get("aud") not in [*_GOOGLE_AUDIENCES, *own]:  # a list: what is claimed may be unhashable
        raise _Refused("invalid_grant", "Invalid JWT: aud must be the token endpoint.")
    if not isinstance(issued, (int, float)) or not isinstance(expires, (int, float)):
        raise _Refused("invalid_grant", "Invalid JWT: iat and exp are required.")
    if not (issued <= now + _SKEW and now - _SKEW < expires <= issued + _LONGEST + _SKEW):
        raise _Refused("invalid_grant", "Invalid JWT: it must be current and good for at most one hour.")
    if claims.get("sub") not in (None, account.body["email"]):
        raise _Refused("unauthorized_client", "Acting for a user (sub) is not supported.")
    if claims.get("target_audience"):
        raise _Refused("invalid_request", "target_audience (ID tokens) is not implemented by this server.")
