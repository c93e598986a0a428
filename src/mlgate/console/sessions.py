"""Who is signed in. The browser holds a random id and nothing else; the token stays here.

A session is also kept in a file, so that a restart of the console signs nobody out. The file's name is a digest of the
id, and its content is encrypted under a key that is made of the id: without the browser's cookie it opens nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_MAX_ID = 100


@dataclass(eq=False)
class Session:
    """A signed-in browser. `expires` is in seconds since 1970; `theme` is dark, light, or "" for the system's."""

    id: str
    bearer: str = field(repr=False)
    principal: str
    expires: float
    theme: str = ""
    #: What is called when the session ends before its time: each open page tells its person.
    listeners: set[Callable[[], None]] = field(default_factory=set, repr=False)

    @property
    def is_over(self) -> bool:
        return time.time() >= self.expires


class Sessions:
    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._open: dict[str, Session] = {}

    def open(self, bearer: str, principal: str, expires: float) -> Session:
        self._sweep()
        session = Session(secrets.token_urlsafe(32), bearer, principal, expires)
        self._open[session.id] = session
        self.save(session)
        return session

    def get(self, session_id: str) -> Session | None:
        """The session of a cookie; None when there is none, or it is over."""
        session = self._open.get(session_id) or self._load(session_id)
        if session is not None and session.is_over:
            self.close(session)
            return None
        return session

    def close(self, session: Session) -> None:
        """Forget a session, and tell its open pages."""
        self._open.pop(session.id, None)
        self._file(session.id).unlink(missing_ok=True)
        for listener in list(session.listeners):
            listener()

    def save(self, session: Session) -> None:
        kept = {"bearer": session.bearer, "principal": session.principal, "expires": session.expires}
        nonce = os.urandom(_NONCE)
        sealed = _cipher(session.id).encrypt(nonce, json.dumps({**kept, "theme": session.theme}).encode(), None)
        file = self._file(session.id)
        scratch = file.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_bytes(nonce + sealed)
        os.utime(scratch, (session.expires, session.expires))
        scratch.replace(file)

    def _load(self, session_id: str) -> Session | None:
        if not session_id or len(session_id) > _MAX_ID:
            return None
        try:
            sealed = self._file(session_id).read_bytes()
            kept = json.loads(_cipher(session_id).decrypt(sealed[:_NONCE], sealed[_NONCE:], None))
        except (FileNotFoundError, InvalidTag, ValueError):
            return None
        return self._open.setdefault(session_id, Session(session_id, **kept))

    def _file(self, session_id: str) -> Path:
        return self._directory / hashlib.sha256(b"name:" + session_id.encode()).hexdigest()

    def _sweep(self) -> None:
        """Forget what is over; a file's time is the session's end."""
        for session in [session for session in self._open.values() if session.is_over]:
            self.close(session)
        for file in self._directory.iterdir():
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < time.time():
                    file.unlink()


def _cipher(session_id: str) -> AESGCM:
    return AESGCM(hashlib.sha256(b"key:" + session_id.encode()).digest())
