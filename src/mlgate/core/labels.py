"""Labels of resources (api.md 2.1)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from mlgate.core.errors import InvalidArgument

MAX_LABELS, MAX_LENGTH = 64, 63


def check_labels(labels: Mapping[str, str] | None, field: str = "labels", limit: int = MAX_LABELS) -> None:
    """Raises InvalidArgument for a label that is too long or of another alphabet, or for too many."""
    labels = labels or {}
    if len(labels) > limit:
        raise _refuse(field, f"{len(labels)} labels are given; at most {limit} are allowed.")
    for key, value in labels.items():
        if not key or not _is_lower(key[0]) or not _fits(key):
            raise _refuse(field, f'Label key "{key[:100]}" is invalid: {_RULE}, and it starts with a letter.')
        if not _fits(value):
            raise _refuse(field, f'Label value "{value[:100]}" of "{key}" is invalid: {_RULE}.')


_RULE = f"at most {MAX_LENGTH} lower-case letters, digits, underscores and hyphens"


def _is_lower(char: str) -> bool:
    """A letter that is not upper-case; scripts without case count as lower."""
    return unicodedata.category(char) in ("Ll", "Lo", "Lm")


def _fits(text: str) -> bool:
    return len(text) <= MAX_LENGTH and all(_is_lower(c) or unicodedata.category(c) == "Nd" or c in "_-" for c in text)


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])
