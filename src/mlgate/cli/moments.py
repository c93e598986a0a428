"""When something ends or began, as a person types it: `7d`, `12h30m`, or a moment in RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from mlgate.cli.failure import Failure
from mlgate.core.wire import format_timestamp, parse_timestamp

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_SPAN = re.compile(r"(?:\d{1,6}[wdhms])+")


def end(text: str, now: datetime | None = None) -> str:
    """The moment in RFC 3339, a span counted from now. Raises Failure for anything else."""
    if _SPAN.fullmatch(text):
        span = sum(
            (timedelta(**{_UNITS[part[-1]]: int(part[:-1])}) for part in re.findall(r"\d+\D", text)), timedelta()
        )
        try:
            return format_timestamp((now or datetime.now(UTC)) + span)
        except OverflowError:
            raise Failure("INVALID_ARGUMENT", f'"{text}" ends after the year 9999.') from None
    try:
        return format_timestamp(parse_timestamp(text))
    except ValueError:
        raise Failure("INVALID_ARGUMENT", f'"{text}" is no end: write 7d, 12h or 2030-01-31T12:00:00Z.') from None


def begin(text: str, now: datetime) -> datetime:
    """The moment, a span counted back from now. Raises Failure for anything else."""
    moment = parse_timestamp(end(text, now))
    return 2 * (now - moment) + moment if _SPAN.fullmatch(text) else moment
