"""How the command line signs in: a bearer token, or a service account's key that it exchanges for short ones.

    MLGATE_TOKEN > a saved token (`auth login --token -`) > a saved key (`auth login --key-file FILE`)

A key is a copy of its file; the access token that it bought is kept beside it and bought anew shortly before it ends
(RFC 7523). No secret is ever an argument: other users of a machine can read those.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlgate.cli import configuration
from mlgate.cli.failure import Failure

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_KEY_FIELDS = ("client_email", "private_key", "private_key_id", "token_uri")
_LIFETIME, _MARGIN = 3600, 60

#: Posts a form to an address and returns the answer's JSON, or raises Failure.
Post = Callable[[str, Mapping[str, str]], Any]


def bearer(post: Post) -> str:
    """The token to send. Raises Failure when nobody signed in."""
    if token := os.environ.get(configuration.TOKEN_VARIABLE):
        return token.strip()
    saved = configuration.read(configuration.CREDENTIALS)
    if token := saved.get("token"):
        return str(token)
    if "key" not in saved:
        raise Failure(
            "UNAUTHENTICATED",
            "You are not signed in. Run mlgate auth login --key-file FILE, or set MLGATE_TOKEN.",
        )
    if saved.get("expires", 0) - _MARGIN > time.time():
        return str(saved["access_token"])
    return refresh(saved["key"], post)


def refresh(key: Mapping[str, str], post: Post) -> str:
    """Exchange the key for an access token, and save both."""
    answer = post(key["token_uri"], {"grant_type": GRANT, "assertion": _assertion(key)})
    token, lifetime = str(answer["access_token"]), float(answer.get("expires_in", 0))
    saved = {"key": dict(key), "access_token": token, "expires": time.time() + lifetime}
    configuration.write(configuration.CREDENTIALS, saved)
    return token


def _assertion(key: Mapping[str, str]) -> str:
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    now = int(time.time())
    claims = {
        "iss": key["client_email"],
        "sub": key["client_email"],
        "aud": key["token_uri"],
        "scope": _SCOPE,
        "iat": now,
        "exp": now + _LIFETIME,
    }
    try:
        return jwt.encode({"alg": "RS256", "kid": key["private_key_id"]}, claims, RSAKey.import_key(key["private_key"]))
    except (JoseError, ValueError):
        raise Failure("INVALID_ARGUMENT", "The key file's private_key is not a usable RSA key.") from None


def read_key(path: Path) -> dict[str, str]:
    """The key in a file that `iam service-accounts keys create` wrote. Raises Failure."""
    try:
        key = json.loads(path.read_text())
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        key = None
    if not isinstance(key, dict) or not all(isinstance(key.get(field), str) for field in _KEY_FIELDS):
        raise Failure("INVALID_ARGUMENT", f"{path} is no service-account key: it needs {', '.join(_KEY_FIELDS)}.")
    return key


def save_token(token: str) -> None:
    if not token or any(c.isspace() for c in token):
        raise Failure("INVALID_ARGUMENT", "Standard input holds no token: expected one word.")
    configuration.write(configuration.CREDENTIALS, {"token": token})


def described() -> dict[str, str]:
    """Who signed in and how, as far as this machine knows."""
    if os.environ.get(configuration.TOKEN_VARIABLE):
        return {"source": configuration.TOKEN_VARIABLE}
    saved = configuration.read(configuration.CREDENTIALS)
    if saved.get("token"):
        return {"source": "saved token"}
    if "key" in saved:
        return {"source": "saved key", "account": str(saved["key"]["client_email"])}
    return {}
