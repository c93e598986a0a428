"""Messages of signing in: our own."""

from __future__ import annotations

from mlgate.api.messages.message import Message, Timestamp


class ExchangeCodeRequest(Message):
    """The one-time code of a link that `mlgate admin login-link` printed."""

    code: str | None = None


class Session(Message):
    """Who a token speaks for and until when; the token itself is only in the answer that makes it."""

    access_token: str | None = None
    expire_time: Timestamp | None = None
    principal: str | None = None
