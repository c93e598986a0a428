"""Signing in with a one-time code, asking who one is, signing out.

A code is 256 random bits that are stored as their SHA-256 and forgotten when they are used: a second exchange finds
nothing. What is wrong with a code is never said. Signing out ends the very token that the call bears, in every process.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

import msgspec

from mlgate.api.call import Call, Response
from mlgate.api.json_body import parse
from mlgate.api.messages.message import Empty, decode, encode
from mlgate.api.messages.sign_in import ExchangeCodeRequest, Session
from mlgate.core.errors import Unauthenticated
from mlgate.core.wire import format_timestamp, parse_timestamp
from mlgate.ports import Record, Transaction

KIND = "loginCode"
_MAX_BODY = 4 << 10


def new_code(tx: Transaction, code: str, principal: str, lifetime: float, now: datetime, ends: datetime) -> None:
    """Store a code that opens a session of `lifetime` seconds until it `ends`; forget those that have ended."""
    for old in tx.find(KIND):
        if parse_timestamp(old.hidden["ends"]) <= now:
            tx.delete(old.name)
    hidden = {"principal": principal, "lifetime": lifetime, "ends": format_timestamp(ends)}
    tx.insert(Record(_name(code), KIND, "", "", {}, now, hidden=hidden))


async def exchange_code(call: Call) -> Response:
    """Answer {"accessToken", "expireTime", "principal"}. Raises Unauthenticated."""
    body = decode(ExchangeCodeRequest, parse(await call.request.body.read(_MAX_BODY)))
    code = body.code or ""
    await call.on_thread(lambda tx: _found(tx, code, call.now))  # no lock is held while strangers guess
    session = await call.on_thread(lambda tx: _opened(call, tx, code), write=True)
    return Response(body=msgspec.json.encode(encode(session)), headers=[("Cache-Control", "no-store")])


def get_session(call: Call) -> Session:
    assert call.token is not None
    return Session(principal=call.token.principal, expire_time=call.token.expires)


def end_session(call: Call) -> Empty:
    assert call.token is not None
    call.tx.set_fact("ended", call.token.digest.hex(), format_timestamp(call.token.expires))
    return Empty()


def _opened(call: Call, tx: Transaction, code: str) -> Session:
    record = _found(tx, code, call.now)
    tx.delete(record.name)
    principal = record.hidden["principal"]
    bearer, token = call.services.identity.issue(tx, principal, record.hidden["lifetime"])
    return Session(access_token=bearer, expire_time=token.expires, principal=principal)


def _found(tx: Transaction, code: str, now: datetime) -> Record:
    """The code's record. What is looked up is a digest, so the time it takes says nothing of the code."""
    name = _name(code)
    record = tx.get(name)
    if record is None or not hmac.compare_digest(record.name, name) or parse_timestamp(record.hidden["ends"]) <= now:
        raise Unauthenticated(
            "This sign-in code is unknown, was used, or has ended. Ask for a new link.", reason="LOGIN_CODE_INVALID"
        )
    return record


def _name(code: str) -> str:
    return f"loginCodes/{hashlib.sha256(code.encode('utf-8', 'surrogatepass')).hexdigest()}"
