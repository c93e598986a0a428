"""The small formats of the wire: timestamps, durations, base64, field masks, page tokens (proto3 JSON mapping)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mlgate.core.errors import InvalidArgument

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))")
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")


def camel(snake_name: str) -> str:
    head, *rest = snake_name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def format_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, with as many fractional digits as are needed (0, 3 or 6), as Google's services answer."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = moment.microsecond
    if micros:
        text += f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"
    return text + "Z"


def parse_timestamp(text: str) -> datetime:
    """The moment, to the microsecond. Raises ValueError."""
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise ValueError(f'"{text[:60]}" is no RFC 3339 timestamp, such as "2026-01-31T12:00:00Z"')
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    micros = int((match.group(7) or "0").ljust(9, "0")[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f'"{text[:60]}" is no moment of the calendar: {error}') from None
    if match.group(9):
        shift = timedelta(hours=int(match.group(10)), minutes=int(match.group(11)))
        try:
            moment = moment - shift if match.group(9) == "+" else moment + shift
        except OverflowError:
            raise ValueError(f'"{text[:60]}" is outside the years 1 to 9999') from None
    return moment


def parse_duration(value: Any) -> float:
    """Seconds of "3.5s", or of {"seconds": 3, "nanos": 500000000}, which some clients send. Raises ValueError."""
    if isinstance(value, dict):
        try:
            return int(value.get("seconds", 0)) + int(value.get("nanos", 0)) / 1e9
        except (TypeError, ValueError):
            raise ValueError('a duration object holds whole "seconds" and "nanos"') from None
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'{json.dumps(value, default=str)[:60]} is no duration, such as "3600s" or "0.5s"')
    seconds = int(match.group(2)) + (int(match.group(3).ljust(9, "0")) / 1e9 if match.group(3) else 0.0)
    return -seconds if match.group(1) else seconds


def format_duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def decode_base64(text: str) -> bytes:
    """Bytes of standard or URL-safe base64, with or without padding (api.md rule 2). Raises ValueError."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64") from None


def split_mask(text: str) -> list[str]:
    """The paths of a field mask, each in camelCase: both spellings are accepted (api.md 2.3)."""
    return [".".join(camel(part) for part in path.strip().split(".")) for path in text.split(",") if path.strip()]


def parse_mask(text: str, allowed: Sequence[str], field: str = "updateMask") -> list[str]:
    """The paths of an update mask. Raises InvalidArgument when it is empty or names a path outside `allowed`."""
    paths = split_mask(text)
    if not paths:
        message = f"{field} is required: name the fields to change, such as {allowed[0]}."
        raise InvalidArgument(message, fields=[(field, message)])
    wrong = [path for path in paths if path not in allowed]
    if wrong:
        message = f'{field}: "{wrong[0][:100]}" cannot be updated; the fields that can: {", ".join(allowed)}.'
        raise InvalidArgument(message, fields=[(field, message)])
    return paths


def page_token(after: str, *query: str) -> str:
    """An opaque token for the page that starts behind `after`, good only for the same caller and query."""
    return base64.urlsafe_b64encode(json.dumps([after, _fingerprint(query)]).encode()).decode()


def parse_page_token(token: str, *query: str) -> str:
    """What `page_token` was given. Raises InvalidArgument for a token of another caller or query."""
    message = "pageToken was not given out for this query: start again without one."
    try:
        after, mark = json.loads(decode_base64(token))
    except (ValueError, TypeError, RecursionError):
        raise InvalidArgument(message, fields=[("pageToken", message)]) from None
    if not isinstance(after, str) or mark != _fingerprint(query) or re.search("[\x00\ud800-\udfff]", after):
        raise InvalidArgument(message, fields=[("pageToken", message)])
    return after


def _fingerprint(query: Sequence[str]) -> str:
    return hashlib.sha256("\x00".join(query).encode("utf-8", "surrogatepass")).hexdigest()[:16]
