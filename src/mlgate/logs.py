"""Structured logs, one JSON object a line, on standard error. Secrets are dropped here, whoever logs them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

#: Keys that never reach a log, and text that looks like one of our tokens, a key, or a signed assertion.
_SECRET_KEYS = frozenset(
    {"authorization", "access_token", "oauth_token", "key", "privatekeydata", "private_key", "assertion", "token"}
)
_SECRET_TEXT = re.compile(
    r"mlgate_[A-Za-z0-9_-]{20,}|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?<=Bearer )\S+",
    re.DOTALL,
)


#: Longer texts are cut: a log line is no place for them, and looking for secrets takes time.
LONGEST = 8000


def without_secrets(text: str) -> str:
    return _SECRET_TEXT.sub("[redacted]", text)


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value if len(value) <= LONGEST else value[:LONGEST] + "…")
    if isinstance(value, dict):
        return {k: "[redacted]" if str(k).lower() in _SECRET_KEYS else _redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    return value


def drop_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    redacted: MutableMapping[str, Any] = _redact(dict(event))
    return redacted


def configure(level: str = "info", **bound: str) -> None:
    """Set up logging for this process; `bound` stands in every line."""
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            drop_secrets,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


class _Bridge(logging.Handler):
    """What libraries log, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
