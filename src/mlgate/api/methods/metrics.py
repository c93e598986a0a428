"""What is counted and logged of predictions, to be read by whoever may read the model or version."""

from __future__ import annotations

from mlgate.api.handlers import metrics
from mlgate.api.messages.usage import ListVersionLogsResponse, Metrics
from mlgate.api.method import GET, Method
from mlgate.core.names import ORGANIZATION

_MODEL, _VERSION = "v1/{name=projects/*/models/*}", "v1/{name=projects/*/models/*/versions/*}"
_QUERY: dict[str, type] = {"startTime": str, "endTime": str, "alignmentPeriod": str}

ROWS: tuple[Method, ...] = (
    Method("mlgate.models.metrics", GET, f"{_MODEL}:metrics", "ml.models.get", metrics.model_metrics, gives=Metrics,
           query=_QUERY, summary="Read how a model is used: requests, failures and latencies over time"),
    Method("mlgate.versions.metrics", GET, f"{_VERSION}:metrics", "ml.versions.get", metrics.version_metrics,
           gives=Metrics, query=_QUERY,
           summary="Read how a version is used: requests, failures and latencies over time"),
    Method("mlgate.versions.listLogs", GET, f"{_VERSION}:listLogs", "ml.versions.get", metrics.list_logs,
           gives=ListVersionLogsResponse, query={"kind": str, "limit": int},
           summary="Read the last lines of a version's log: its deployment, what it prints, how it answered"),
    Method("mlgate.metrics", GET, "metrics", "ml.models.get", metrics.prometheus, on=ORGANIZATION,
           summary="The usage of all models for Prometheus, to whoever may read models everywhere"),
)  # fmt: skip
