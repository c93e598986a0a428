"""How answers are shown: YAML unless asked otherwise, lists as a table, always the same for the same answer.

    --format yaml | json | table(FIELD, ...) | value(FIELD, ...)      FIELD is name, name.basename(), metadata.state

Keys are sorted, as Google's tool sorts them: that puts `members` before `role` and `etag` last. Text that others chose
(names, descriptions) is shown without its control characters, which could rewrite a terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from mlgate.cli.failure import Failure
from mlgate.core.names import id_of

_BASENAME = ".basename()"
_FORMAT = re.compile(r"(yaml|json|table|value)(?:\((.*)\))?")


def check_format(text: str) -> tuple[str, list[str]]:
    """A format and its fields. Raises Failure."""
    match = _FORMAT.fullmatch(text.strip())
    fields = [field.strip() for field in (match.group(2) or "").split(",") if field.strip()] if match else []
    if not match or (match.group(1) == "value" and not fields):
        raise Failure(
            "INVALID_ARGUMENT", f'"{text}" is no format: use yaml, json, table(FIELD,...) or value(FIELD,...).'
        )
    return match.group(1), fields


def show(value: Any, format: str, columns: Sequence[str] = ()) -> None:
    """Print an answer. Without a format, a list with columns is a table and all else is YAML."""
    kind, fields = check_format(format) if format else ("table" if isinstance(value, list) and columns else "yaml", [])
    if value is None:
        return
    if kind == "json":
        print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
    elif kind == "yaml":
        print(to_yaml(value), end="")
    else:
        items = value if isinstance(value, list) else [value]
        rows = [[_text(_pick(item, field)) for field in fields or columns or _keys(items)] for item in items]
        if kind == "value":
            sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
        else:
            _table(fields or columns or _keys(items), rows)


def to_yaml(value: Any) -> str:
    import yaml

    documents = value if isinstance(value, list) else [value]
    shown = [_without_plain_version(document) for document in documents]
    return yaml.safe_dump_all(shown, allow_unicode=True, sort_keys=True, width=10**6) if shown else ""


def _without_plain_version(value: Any) -> Any:
    """A policy without its version when that is 1, which says nothing (the sharing guide shows none)."""
    if isinstance(value, dict) and "etag" in value and value.get("version") == 1:
        return {k: v for k, v in value.items() if k != "version"}
    return value


def note(text: str) -> None:
    """Say something to a person, beside the answer."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def _table(columns: Sequence[str], rows: list[list[str]]) -> None:
    if not rows:
        note("Listed 0 items.")
        return
    heads = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\.", "_", c.removesuffix(_BASENAME)).upper() for c in columns]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _keys(items: Sequence[Any]) -> list[str]:
    return sorted({key for item in items if isinstance(item, dict) for key in item})


def _pick(value: Any, field: str) -> Any:
    for part in field.removesuffix(_BASENAME).split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return id_of(value) if field.endswith(_BASENAME) and isinstance(value, str) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return printable(text).replace("\n", "\\n")
