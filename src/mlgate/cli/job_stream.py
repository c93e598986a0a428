"""The log of a job as it grows, until the job has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from mlgate.cli import output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.core.names import id_of, join, project_id_of
from mlgate.core.wire import format_timestamp, parse_timestamp

#: Lines may arrive this much after their time: so far back is asked again, and what was shown is left out.
_LATE = timedelta(seconds=15)
_PATIENCE = 30
_PAGE = 1000


def stream(
    client: Client, job: str, task: str = "", interval: float = 1.0, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Print the lines of a job's log until it ends; the job as it is then. Ctrl-C stops the printing, not the job."""
    try:
        for entry in _entries(client, job, task, interval, sleep):
            print(line_of(entry))
            sys.stdout.flush()
    except KeyboardInterrupt:
        output.note(f"The job goes on. To see its log again: mlgate jobs stream-logs {id_of(job)}")
        raise
    return client.call("ml.projects.jobs.get", name=job)


def line_of(entry: dict[str, Any]) -> str:
    labels = entry["resource"]["labels"]
    trial = entry.get("labels", {}).get("ml.googleapis.com/trial_id", "")
    where = f"{labels['task_name']}{f' trial {trial}' if trial else ''}"
    text = output.printable(entry.get("textPayload", ""))
    return f"{entry['severity']:<8}{entry['timestamp'][:19].replace('T', ' ')}  {where:<18} {text}"


def _entries(
    client: Client, job: str, task: str, interval: float, sleep: Callable[[float], None]
) -> Iterator[dict[str, Any]]:
    shown: dict[str, str] = {}
    since = ""
    while True:
        has_ended = "endTime" in _patiently(lambda: client.call("ml.projects.jobs.get", name=job), sleep)
        for entry in _read(client, job, task, since, sleep):
            if entry["insertId"] not in shown:
                shown[entry["insertId"]] = entry["timestamp"]
                since = max(since, entry["timestamp"])
                yield entry
        if has_ended:
            return
        if since:
            bound = format_timestamp(parse_timestamp(since) - 2 * _LATE)
            shown = {key: moment for key, moment in shown.items() if moment >= bound}
        sleep(interval)


def _read(client: Client, job: str, task: str, since: str, sleep: Callable[[float], None]) -> Iterator[dict[str, Any]]:
    parts = ['resource.type="ml_job"', f'resource.labels.job_id="{id_of(job)}"']
    if task:
        parts.append(f'resource.labels.task_name="{task}"')
    if since:
        parts.append(f'timestamp>="{format_timestamp(parse_timestamp(since) - _LATE)}"')
    body: dict[str, Any] = {
        "resourceNames": [join("", "projects", project_id_of(job))],
        "filter": " AND ".join(parts),
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    while True:
        page = _patiently(lambda: client.call("logging.entries.list", body), sleep)
        yield from page.get("entries", [])
        if not page.get("nextPageToken"):
            return
        body["pageToken"] = page["nextPageToken"]


def _patiently(call: Callable[[], dict[str, Any]], sleep: Callable[[float], None]) -> dict[str, Any]:
    """A server that is away for a while, to be restarted, ends no stream."""
    for _ in range(_PATIENCE):
        try:
            return call()
        except Failure as failure:
            if failure.status != "UNAVAILABLE":
                raise
        sleep(2.0)
    return call()
