"""Logging v2, as far as the logs of jobs go: `entries:list` with the filters that clients of jobs send.

A job's log is readable with `ml.jobs.get` on that job. A filter that demands one job is refused without it; any other
filter is answered with the jobs of the named projects that the caller may read.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from mlgate import job_logs
from mlgate.api.call import Call
from mlgate.api.messages.logging import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from mlgate.api.messages.message import decode
from mlgate.api.method import Need
from mlgate.api.params import canonical
from mlgate.core import filters
from mlgate.core.errors import InvalidArgument
from mlgate.core.names import join
from mlgate.core.wire import page_token, parse_page_token, parse_timestamp

DEFAULT_SIZE, MAX_SIZE = 50, 1000
#: Without a job's name in the filter so many jobs are looked through.
MOST_JOBS = 200
_FIELDS = ("resource", "timestamp", "insertId", "severity", "logName", "textPayload", "labels")
_ORDERS = ("timestamp asc", "timestamp desc")


def needs_of_logs(call: Call, body: ListLogEntriesRequest) -> Iterable[Need]:
    job_id = _job_id(body)
    for project in _projects(call, body) if job_id else ():
        yield Need(("ml.jobs.get",), join(project, "jobs", job_id))


def list_entries(call: Call, body: ListLogEntriesRequest) -> ListLogEntriesResponse:
    """A page of entries in order of (timestamp, insertId). Raises InvalidArgument, PermissionDenied."""
    order = " ".join((body.order_by or _ORDERS[0]).split())
    if order not in _ORDERS:
        raise _refuse("orderBy", f'orderBy "{order[:50]}" is none of {", ".join(_ORDERS)}.')
    text = body.filter or ""
    wanted = filters.parse(text, _FIELDS)
    names = body.resource_names or body.project_ids or []
    mark = (call.principal, call.method.id, text, order, *names)
    after = _read(parse_page_token(body.page_token, *mark)) if body.page_token else None
    if (body.page_size or 0) < 0:
        raise _refuse("pageSize", f"pageSize is {body.page_size}; it must not be negative.")
    size = min(body.page_size or DEFAULT_SIZE, MAX_SIZE)
    is_rising = order == _ORDERS[0]
    since = _since(text, after[0] if after and is_rising else None)
    found = (entry for entry in _entries(call, body, since) if wanted(entry))
    if is_rising:
        page = list(islice((e for e in found if after is None or _place(e) > after), size + 1))
    else:
        page = list(deque((e for e in found if after is None or _place(e) < after), maxlen=size + 1))[::-1]
    more = len(page) > size
    page = page[:size]
    token = page_token(f"{page[-1]['timestamp']} {page[-1]['insertId']}", *mark) if more else ""
    return ListLogEntriesResponse(entries=[decode(LogEntry, entry) for entry in page], next_page_token=token)


def _entries(call: Call, body: ListLogEntriesRequest, since: datetime | None) -> Iterator[dict[str, Any]]:
    logs = [job_logs.entries(call.tx, job, since) for job in _jobs(call, body)]
    return heapq.merge(*logs, key=_place)


def _jobs(call: Call, body: ListLogEntriesRequest) -> list[str]:
    job_id, projects = _job_id(body), _projects(call, body)
    if job_id:
        return [join(project, "jobs", job_id) for project in projects]
    jobs = [record.name for project in projects for record in call.tx.children(project, "job")]
    readable = [job for job in jobs if call.may("ml.jobs.get", job)]
    if len(readable) > MOST_JOBS:
        raise _refuse("filter", 'There are many jobs: name one, such as resource.labels.job_id="my_job".')
    return readable


def _job_id(body: ListLogEntriesRequest) -> str:
    return filters.bounds(body.filter or "", _FIELDS).equal.get("resource.labels.job_id", "")


def _projects(call: Call, body: ListLogEntriesRequest) -> list[str]:
    """Raises InvalidArgument for a name of another form."""
    names = [*(body.resource_names or ()), *(join("", "projects", p) for p in body.project_ids or ())]
    if not names:
        raise _refuse("resourceNames", "resourceNames is required: such as projects/my-project.")
    for name in names:
        if name.count("/") != 1 or not name.startswith("projects/"):
            raise _refuse("resourceNames", f'"{name[:200]}" cannot be read here: name a project, projects/PROJECT_ID.')
    return list(dict.fromkeys(canonical(name, call.services.snapshot) for name in names))


def _since(text: str, read: datetime | None) -> datetime | None:
    """The moment before which nothing can match: where the last page ended, or what the filter says of all."""
    lower = filters.bounds(text, _FIELDS).least.get("timestamp", "")
    try:
        bound = parse_timestamp(lower) if lower else None
    except ValueError as error:
        raise _refuse("filter", f"Invalid filter: timestamp: {error}.") from None
    return max((moment for moment in (bound, read) if moment is not None), default=None)


def _place(entry: dict[str, Any]) -> tuple[datetime, str]:
    return parse_timestamp(entry["timestamp"]), entry["insertId"]


def _read(after: str) -> tuple[datetime, str]:
    """The place of an entry, out of a page token."""
    moment, _, insert_id = after.partition(" ")
    try:
        return parse_timestamp(moment), insert_id
    except ValueError:
        raise _refuse("pageToken", "pageToken was not given out for this query: start again without one.") from None


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])
