"""From an HTTP verb and a raw path to a row of the table.

The key is (verb, custom verb, collections): never the regular expressions of the discovery document, which send
`GET models/m:getIamPolicy` to `models.get`. The raw path is split first and each segment is decoded once, so an encoded
slash cannot move a boundary; then the segment's alphabet is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from mlgate.api.method import Method
from mlgate.core.errors import InvalidArgument, NotFound
from mlgate.core.names import attachment_point

#: Paths whose last segment may hold a colon: object names.
_STORAGE_ROOTS = frozenset({"storage", "upload", "resumable", "download"})
#: The collection whose ids are full resource names with encoded slashes (iam v2). They stay encoded in parameters; the
#: resource that such an id names is one parameter more.
_ATTACHED = "policies"
#: An object's name is at most 1,024 bytes, three characters each when encoded; every other id is far shorter.
MAX_PATH, MAX_ID = 4096, 256
#: Paths whose rows are known without looking: those of the last calls.
REMEMBERED = 4096
_FORBIDDEN = re.compile(r"[/:\x00-\x1f\x7f]|\.\.")


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    rows: dict[tuple[str, str], Method] = field(default_factory=dict)


class Router:
    """A tree over path segments; a literal wins over a wildcard."""

    def __init__(self, rows: Iterable[Method]) -> None:
        self._root = _Node()
        self._matched: dict[tuple[str, str], tuple[Method, dict[str, str]]] = {}
        for row in rows:
            node = self._root
            for segment in row.template.segments:
                node = node.children.setdefault(segment, _Node())
            node.rows[row.http, row.template.verb] = row

    def match(self, http: str, raw_path: str) -> tuple[Method, Mapping[str, str]]:
        """The row and its path parameters. Raises NotFound, or InvalidArgument for a segment that no name may have."""
        found = self._matched.get((http, raw_path))
        if found is None:
            found = self._match(http, raw_path)
            if len(self._matched) >= REMEMBERED:
                self._matched.clear()
            self._matched[http, raw_path] = found
        return found

    def _match(self, http: str, raw_path: str) -> tuple[Method, dict[str, str]]:
        if len(raw_path) > MAX_PATH:
            raise InvalidArgument(f"The path is longer than {MAX_PATH} characters.")
        raw = raw_path.lstrip("/").split("/")
        verb = ""
        if raw[0] not in _STORAGE_ROOTS and ":" in raw[-1]:
            raw[-1], _, verb = raw[-1].rpartition(":")
        node = self._find(self._root, raw, 0, (http, verb))
        if node is None:
            raise NotFound(f"Method not found: {http} {raw_path[:200]}.")
        row = node.rows[http, verb]
        return row, _parameters(row, raw)

    def _find(self, node: _Node, raw: list[str], depth: int, key: tuple[str, str]) -> _Node | None:
        if depth == len(raw):
            return node if key in node.rows else None
        for step in (raw[depth], "*"):
            child = node.children.get(step)
            if child is not None and raw[depth]:
                found = self._find(child, raw, depth + 1, key)
                if found is not None:
                    return found
        return None


def _parameters(row: Method, raw: list[str]) -> dict[str, str]:
    storage = raw[0] in _STORAGE_ROOTS
    found = {}
    if row.template.segments[1:3] == (_ATTACHED, "*"):
        full_name = _full_name(raw[2])
        found["attachmentPoint"] = attachment_point(full_name)
        raw = [*raw[:2], quote(quote(full_name, safe=""), safe=""), *raw[3:]]  # one encoding is taken off below
    for variable in row.template.variables:
        ids = [_decode(segment, storage) for segment in raw[variable.start : variable.stop]]
        if any(len(one) > MAX_ID for one in ids) and not variable.name.lower().endswith("object"):
            raise InvalidArgument(f"The path holds an id of more than {MAX_ID} characters.")
        found[variable.name] = "/".join(ids)
    return found


def _full_name(segment: str) -> str:
    """The name in a segment that was encoded once, or twice: then the first decoding brings no slash to light."""
    text = _decode(segment, storage=True)
    return text if "/" in text else _decode(text, storage=True)


def _decode(segment: str, storage: bool) -> str:
    if "%" not in segment and segment.isascii() and (storage or not _FORBIDDEN.search(segment)):
        return segment
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f'The path segment "{segment[:100]}" is not UTF-8.') from None
    if not storage and (_FORBIDDEN.search(text) or not text):
        raise InvalidArgument(f'The path segment "{segment[:100]}" holds a character that no resource name may hold.')
    return text
