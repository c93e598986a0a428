"""How answers are shown: YAML unless asked otherwise, lists as a table, always the same for the same answer.

    --format yaml | json | table(FIELD, ...) | csv(FIELD, ...) | value(FIELD, ...)
    FIELD is name, name.basename(), metadata.state, parameters.pairs()

Keys are sorted, as Google's tool sorts them: that puts `members` before `role` and `etag` last. Text that others chose
(names, descriptions) is shown without its control characters, which could rewrite a terminal; in CSV it cannot become a
formula of the spreadsheet that opens it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from mlgate.cli.failure import Failure
from mlgate.core.names import id_of

_BASENAME, _PAIRS = ".basename()", ".pairs()"
_FORMAT = re.compile(r"(yaml|json|table|csv|value)(?:\((.*)\))?")

_FORMULA = re.compile(r"(?![+-]?\d+(\.\d+)?$)[=+\-@]")


def check_format(text: str) -> tuple[str, list[str]]:
    """A format and its fields. Raises Failure."""
    match = _FORMAT.fullmatch(text.strip())
    fields = [field.strip() for field in (match.group(2) or "").split(",") if field.strip()] if match else []
    if not match or (match.group(1) == "value" and not fields):
        formats = "yaml, json, table(FIELD,...), csv(FIELD,...) or value(FIELD,...)"
        raise Failure("INVALID_ARGUMENT", f'"{text}" is no format: use {formats}.')
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
        heads = fields or columns or _keys(items)
        rows = [[_text(_pick(item, field)) for field in heads] for item in items]
        if kind == "value":
            sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
        elif kind == "csv":
            _csv(heads, rows)
        else:
            _table(heads, rows)


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
    heads = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\.", "_", _plain(c)).upper() for c in columns]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _csv(columns: Sequence[str], rows: list[list[str]]) -> None:
    """RFC 4180, with a quotation mark before what a spreadsheet would take for a formula."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(_plain, columns))
    writer.writerows([f"'{cell}" if _FORMULA.match(cell) else cell for cell in row] for row in rows)


def _plain(field: str) -> str:
    return field.removesuffix(_BASENAME).removesuffix(_PAIRS)


def _keys(items: Sequence[Any]) -> list[str]:
    return sorted({key for item in items if isinstance(item, dict) for key in item})


def _pick(value: Any, field: str) -> Any:
    parts = _plain(field).split(".")
    for n, part in enumerate(parts):
        if isinstance(value, list):
            inner = [_pick(item, ".".join(parts[n:])) for item in value]
            return ",".join(_text(item) for item in inner if item is not None)
        value = value.get(part) if isinstance(value, dict) else None
    if field.endswith(_PAIRS):
        return " ".join(map(_pair, value or []))
    return id_of(value) if field.endswith(_BASENAME) and isinstance(value, str) else value


def _pair(item: dict[str, Any]) -> str:
    """A parameter or a metric, as in lr=0.01."""
    name = item.get("parameter", item.get("metric", ""))
    values = [value for key, value in item.items() if key not in ("parameter", "metric")]
    return f"{name}={','.join(f'{v:g}' if isinstance(v, float) else _text(v) for v in values)}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return printable(text).replace("\n", "\\n")
