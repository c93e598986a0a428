"""Bearer tokens and service-account keys.

An access token is 256 random bits; the database holds its SHA-256, the principal and the end. Each process remembers
the tokens that it has seen, so a call costs one hash and one look-up; whether a service account is still there and
enabled is asked of the snapshot every time, so disabling counts at once.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from mlgate.core.errors import Unauthenticated
from mlgate.core.iam.principals import email_of
from mlgate.ports import Clock, Store, Token, Transaction
from mlgate.snapshot import Snapshot

PREFIX = "mlgate_"
_MAX_REMEMBERED = 100_000


def digest_of(bearer: str) -> bytes:
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).digest()


def new_token(tx: Transaction, principal: str, expires: datetime, uid: str = "") -> str:
    """A new bearer token for the principal. `uid` ties a service account's token to that very account."""
    bearer = PREFIX + secrets.token_urlsafe(32)
    tx.add_token(Token(digest_of(bearer), principal, expires, uid))
    return bearer


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "Request had invalid authentication credentials: the access token is unknown or has expired.",
        reason="ACCESS_TOKEN_INVALID",
    )


class TokenIdentity:
    """The port `Identity` over stored tokens."""

    def __init__(self, store: Store, snapshot: Snapshot, clock: Clock) -> None:
        self._store = store
        self._snapshot = snapshot
        self._clock = clock
        self._seen: dict[bytes, Token] = {}

    def identify(self, bearer: str) -> Token:
        digest = digest_of(bearer)
        token = self._seen.get(digest) or self._look_up(bearer, digest)
        if token is None:
            raise _unknown()
        self.confirm(token)
        return token

    def confirm(self, token: Token) -> None:
        if token.expires <= self._clock.now() or token.digest in self._snapshot.ended:
            self._seen.pop(token.digest, None)
            raise _unknown()
        if token.uid:
            self._check_account(token)

    def _look_up(self, bearer: str, digest: bytes) -> Token | None:
        if not bearer.startswith(PREFIX) or len(bearer) > 200:
            return None
        with self._store.read() as tx:
            token = tx.token(digest)
        if token is not None:
            if len(self._seen) >= _MAX_REMEMBERED:
                self._seen.clear()
            self._seen[digest] = token
        return token

    def _check_account(self, token: Token) -> None:
        self._snapshot.refresh()
        account = self._snapshot.account(email_of(token.principal))
        if account is None or account.uid != token.uid or account.disabled:
            raise Unauthenticated(
                "Request had invalid authentication credentials: the service account is disabled or deleted.",
                reason="ACCOUNT_STATE_INVALID",
            )

    def issue(self, tx: Transaction, principal: str, lifetime: float, uid: str = "") -> tuple[str, Token]:
        expires = self._clock.now() + timedelta(seconds=lifetime)
        bearer = new_token(tx, principal, expires, uid)
        return bearer, Token(digest_of(bearer), principal, expires, uid)

    def make_key(self) -> tuple[str, str]:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem.decode(), public.decode()

    def verify(self, assertion: str, public_pem: str) -> dict[str, Any]:
        try:
            return dict(jwt.decode(assertion, RSAKey.import_key(public_pem), algorithms=["RS256"]).claims)
        except (JoseError, ValueError) as error:
            raise Unauthenticated("Invalid JWT signature.") from error
