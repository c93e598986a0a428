"""The clock and the source of ids."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class RandomIds:
    def uid(self) -> str:
        return str(10**20 + secrets.randbelow(9 * 10**20))

    def token(self) -> str:
        return secrets.token_urlsafe(32)
