"""Pages of a list: by name, with a filter, and a token that is good for the same caller and query only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, TypeVar

from mlgate.api.call import Call
from mlgate.core import filters
from mlgate.core.errors import InvalidArgument
from mlgate.core.wire import page_token, parse_page_token
from mlgate.ports import Record

T = TypeVar("T")
DEFAULT_SIZE, MAX_SIZE = 20, 100
_CHUNK = 200


def page_size(call: Call, default: int = DEFAULT_SIZE, most: int = MAX_SIZE) -> int:
    """The asked size, cut to the most; a negative one is refused, 0 means the default (api.md 2.2)."""
    size = call.query.get("pageSize", 0)
    if size < 0:
        message = f"pageSize is {size}; it must not be negative."
        raise InvalidArgument(message, fields=[("pageSize", message)])
    return min(size or default, most)


def page(
    call: Call,
    parent: str,
    kind: str,
    present: Callable[[Record], Mapping[str, Any]],
    fields: Collection[str] = (),
    visible: Callable[[Record], bool] | None = None,
    *,
    names: Iterable[str] | None = None,
    default: int = DEFAULT_SIZE,
    most: int = MAX_SIZE,
) -> tuple[list[Record], str]:
    """The records of one page and the token of the next ("" at the end). `present` gives the JSON that filters see (it
    is not made without a filter); `visible` drops what this caller may not see at all. `names` are the records to list
    where they are not those in one parent."""
    text = call.query.get("filter", "")
    wanted = filters.parse(text, fields)
    mark = (call.principal, call.method.id, parent, text, str(call.query.get("query", "")))
    token = call.query.get("pageToken", "")
    after = parse_page_token(token, *mark) if token else ""
    size = page_size(call, default, most)
    chunk_size = _CHUNK if text or visible else size + 1
    read = _in(call, parent, kind) if names is None else _of(call, names, kind)
    found: list[Record] = []
    while len(found) <= size:
        chunk = read(after, chunk_size)
        seen = chunk if visible is None else [record for record in chunk if visible(record)]
        found += [record for record in seen if wanted(present(record))] if text else seen
        if len(chunk) < chunk_size:
            break
        after = chunk[-1].name
    more = len(found) > size
    return found[:size], page_token(found[size - 1].name, *mark) if more else ""


_Chunks = Callable[[str, int], list[Record]]


def _in(call: Call, parent: str, kind: str) -> _Chunks:
    """The records of one kind in one parent behind a name, at most so many."""
    return lambda after, limit: call.tx.children(parent, kind, after=after, limit=limit)


def _of(call: Call, names: Iterable[str], kind: str) -> _Chunks:
    """The same for records that are named."""
    ordered = sorted(names)

    def read(after: str, limit: int) -> list[Record]:
        rest = ordered[bisect_right(ordered, after) :]
        found = (call.tx.get(name) for name in rest)
        there = (record for record in found if record is not None and record.kind == kind)
        return list(islice(there, limit))

    return read
