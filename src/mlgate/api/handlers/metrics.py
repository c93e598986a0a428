"""How models and versions are used: series for people and the console, totals for Prometheus; and versions' logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from mlgate.api.call import Call, Response
from mlgate.api.messages.message import decode
from mlgate.api.messages.usage import ListVersionLogsResponse, Metrics, UsagePoint, VersionLogLine
from mlgate.core import version_log
from mlgate.core.errors import InvalidArgument
from mlgate.core.names import id_of, model_of, project_id_of
from mlgate.core.usage import OK, STEPS, Counts, total
from mlgate.core.wire import parse_duration, parse_timestamp

_DEFAULT_SPAN = timedelta(hours=1)
MOST_POINTS = 10_000
DEFAULT_LINES, MOST_LINES = 200, 5000
#: The bounds of Prometheus' buckets, from 1/4 ms to 64 s, each a power of two.
_BOUNDS = range(-12, 7)


def model_metrics(call: Call) -> Metrics:
    """Over all versions that the model has now. Raises InvalidArgument, NotFound."""
    call.record(call.resource, "model")
    return _metrics(call, [version.uid for version in call.tx.children(call.resource, "version")])


def version_metrics(call: Call) -> Metrics:
    """Raises InvalidArgument, NotFound."""
    return _metrics(call, [call.record(call.resource, "version").uid])


def _metrics(call: Call, uids: list[str]) -> Metrics:
    start, end, period = _span(call)
    points: dict[int, list[Counts]] = {}
    for minute, counts in call.tx.usage(uids, start, end):
        points.setdefault(minute - (minute - start) % period, []).append(counts)
    added = {minute: total(parts) for minute, parts in sorted(points.items())}
    whole = _point(total(added.values()), start)
    return Metrics(
        name=call.resource,
        start_time=_moment(start),
        end_time=_moment(end),
        alignment_period=period * 60.0,
        total=whole,
        points=[_point(counts, minute) for minute, counts in added.items()],
    )


def _span(call: Call) -> tuple[int, int, int]:
    """The minutes from and before which, and how many make a period. Raises InvalidArgument."""
    end = _time(call, "endTime", call.now)
    start = _time(call, "startTime", end - _DEFAULT_SPAN)
    text = call.query.get("alignmentPeriod", "")
    try:
        seconds = parse_duration(text) if text else 60.0
    except ValueError as error:
        raise _refuse("alignmentPeriod", f"alignmentPeriod: {error}.") from None
    if seconds < 60 or seconds % 60:
        raise _refuse("alignmentPeriod", f'alignmentPeriod "{text[:50]}" is no number of whole minutes, such as 300s.')
    first, last, period = int(start.timestamp() // 60), int(-(-end.timestamp() // 60)), int(seconds // 60)
    if first >= last:
        raise _refuse("startTime", "startTime must be before endTime.")
    if (last - first) / period > MOST_POINTS:
        raise _refuse("alignmentPeriod", f"That is more than {MOST_POINTS} points: choose a longer alignmentPeriod.")
    return first, last, period


def _time(call: Call, name: str, default: datetime) -> datetime:
    text = call.query.get(name, "")
    try:
        return parse_timestamp(text) if text else default
    except ValueError as error:
        raise _refuse(name, f"{name}: {error}.") from None


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def _point(counts: Counts, minute: int) -> UsagePoint:
    p50, p95, p99 = (counts.percentile(share) for share in (0.5, 0.95, 0.99))
    return UsagePoint(
        start_time=_moment(minute),
        requests=counts.requests,
        failures={str(status): count for status, count in sorted(counts.statuses.items()) if status != OK},
        p50=p50,
        p95=p95,
        p99=p99,
        request_bytes=counts.received,
        response_bytes=counts.sent,
        unlogged_requests=counts.unlogged or None,
    )


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])


# ------------------------------------------------------------------------------------------------------------- logs


def list_logs(call: Call) -> ListVersionLogsResponse:
    """The last lines, oldest first; they are kept up to a size, and a few seconds late. Raises NotFound,
    InvalidArgument."""
    version = call.record(call.resource, "version")
    kind, limit = call.query.get("kind", ""), call.query.get("limit", 0) or DEFAULT_LINES
    if kind and kind not in version_log.KINDS:
        raise _refuse("kind", f'kind "{kind[:50]}" is none of {", ".join(version_log.KINDS)}.')
    if not 1 <= limit <= MOST_LINES:
        raise _refuse("limit", f"limit is {limit}; it must be between 1 and {MOST_LINES}.")
    found = (version_log.read_line(line) for line in call.services.predictions.logs.read(version.uid))
    lines = [line for line in found if line is not None and kind in ("", line.get("kind"))]
    lines.sort(key=lambda line: str(line.get("time")))  # several processes write: each in order, not all
    return ListVersionLogsResponse(lines=[decode(VersionLogLine, line) for line in lines[-limit:]])


# ------------------------------------------------------------------------------------------------------- prometheus


def prometheus(call: Call) -> Response:
    """Totals since each version was deployed, of the models that the caller may read, in Prometheus' text format."""
    totals = {
        name: counts
        for name, counts in sorted(call.tx.usage_totals().items())
        if call.may("ml.models.get", model_of(name))
    }
    text = "".join(line + "\n" for line in _exposition(totals.items()))
    return Response(body=text.encode(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _exposition(totals: Iterable[tuple[str, Counts]]) -> Iterator[str]:
    counted = [(_labels(name), counts) for name, counts in totals]
    yield from _head("requests_total", "counter", "Predictions and explanations, by the HTTP status of the answer.")
    for labels, counts in counted:
        for status, count in sorted(counts.statuses.items()):
            yield f'mlgate_prediction_requests_total{{{labels},code="{status}"}} {count}'
    yield from _head("seconds", "histogram", "Time in which the model answered.")
    for labels, counts in counted:
        for bound in _BOUNDS:
            within = sum(count for bucket, count in counts.latencies.items() if bucket <= bound * STEPS)
            yield f'mlgate_prediction_seconds_bucket{{{labels},le="{2.0**bound:g}"}} {within}'
        answered = sum(counts.latencies.values())
        yield f'mlgate_prediction_seconds_bucket{{{labels},le="+Inf"}} {answered}'
        yield f"mlgate_prediction_seconds_sum{{{labels}}} {counts.seconds:.6f}"
        yield f"mlgate_prediction_seconds_count{{{labels}}} {answered}"
    for name, about, value in (
        ("request_bytes_total", "Bytes of requests.", "received"),
        ("response_bytes_total", "Bytes of answers.", "sent"),
        ("unlogged_total", "Requests that were to be logged and could not be.", "unlogged"),
    ):
        yield from _head(name, "counter", about)
        for labels, counts in counted:
            yield f"mlgate_prediction_{name}{{{labels}}} {getattr(counts, value)}"
    yield from _head("last_timestamp_seconds", "gauge", "When the version was last used.")
    for labels, counts in counted:
        yield f"mlgate_prediction_last_timestamp_seconds{{{labels}}} {counts.last:.3f}"


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP mlgate_prediction_{name} {about}"
    yield f"# TYPE mlgate_prediction_{name} {kind}"


def _labels(name: str) -> str:
    """Ids hold nothing that would need quoting."""
    return f'project="{project_id_of(name)}",model="{id_of(model_of(name))}",version="{id_of(name)}"'
