"""requestLoggingConfig: which part of a version's requests is logged, and where to.

The old service wrote rows to a BigQuery table, PROJECT.DATASET.TABLE. Here such a name is a file of JSON lines in the
data directory, and `gs://BUCKET/PREFIX` (an extension) are objects of a bucket. Either place belongs to somebody, so
two must be allowed to create objects there, `storage.objects.create`: the caller who names it, and, at each write, the
service agent of the version's project. For a table they need it on the table's project, for a bucket on the bucket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlgate.core.errors import InvalidArgument
from mlgate.core.names import bucket_name, check_id, join, parse_gs_uri

PERMISSION = "storage.objects.create"
_ID = re.compile(r"[A-Za-z0-9_]{1,128}")
_LONGEST_PREFIX = 500


@dataclass(frozen=True, slots=True)
class Sink:
    """A place for rows: a table file by its path below the directory of tables, or a bucket and a prefix."""

    resource: str
    table: tuple[str, ...] = ()
    bucket: str = ""
    prefix: str = ""


def sink_of(name: str) -> Sink:
    """The place that a bigqueryTableName names. Raises InvalidArgument."""
    if name.startswith("gs://"):
        bucket, prefix = parse_gs_uri(name, "version.requestLoggingConfig.bigqueryTableName")
        if len(prefix) > _LONGEST_PREFIX:
            raise _refuse(
                "bigqueryTableName", f"bigqueryTableName has a prefix of more than {_LONGEST_PREFIX} characters."
            )
        return Sink(bucket_name(bucket), bucket=bucket, prefix=prefix.rstrip("/"))
    parts = name.split(".")
    if len(parts) != 3 or not all(_ID.fullmatch(part) for part in parts[1:]):
        raise _refuse(
            "bigqueryTableName",
            f'bigqueryTableName "{name[:300]}" is neither PROJECT.DATASET.TABLE, with letters, digits and underscores, '
            "nor gs://BUCKET/PREFIX.",
        )
    check_id("project", parts[0], "version.requestLoggingConfig.bigqueryTableName")
    return Sink(join("", "projects", parts[0]), table=tuple(parts))


def check(config: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a requestLoggingConfig without a table, or with a fraction that is none."""
    share = config.get("samplingPercentage", 0)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise _refuse("samplingPercentage", f"samplingPercentage is {share}; it is a fraction from 0 to 1.")
    if not config.get("bigqueryTableName"):
        raise _refuse(
            "bigqueryTableName", "bigqueryTableName is required: PROJECT.DATASET.TABLE or gs://BUCKET/PREFIX."
        )
    sink_of(config["bigqueryTableName"])


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"version.requestLoggingConfig.{field}", message)])
