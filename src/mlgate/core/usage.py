"""What is counted of a version's predictions: how many, how they ended, how long they took, how many bytes.

Latencies are counted in buckets that grow by a quarter of a power of two, so that a percentile is off by 9 % at most
and counts of processes and minutes add up. The latency is the model's: only requests that a model process answered,
with predictions or with its failure, have one. Outcomes are the HTTP statuses of the answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Buckets in a power of two; bucket n holds what took up to 2^(n / STEPS) seconds.
STEPS = 4
SHORTEST, LONGEST = -17 * STEPS, 10 * STEPS
OK, MODEL_FAILED = 200, 400
#: The statuses of the errors that a model host raises, by their canonical code; the model's own failure is 400.
_STATUSES = {8: 429, 9: MODEL_FAILED, 4: 504, 14: 503}


@dataclass(slots=True)
class Counts:
    """Of a version, in some time. `last` is when it was last used, in seconds since 1970; `unlogged` are the rows that
    should have been logged and could not be."""

    statuses: dict[int, int] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    received: int = 0
    sent: int = 0
    unlogged: int = 0
    last: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def errors(self) -> int:
        return self.requests - self.statuses.get(OK, 0)

    def answered(self, status: int, seconds: float, received: int, sent: int) -> None:
        """Count an answer of the model's. The prediction path: each line costs."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        bucket = bucket_of(seconds)
        self.latencies[bucket] = self.latencies.get(bucket, 0) + 1
        self.seconds += seconds
        self.received += received
        self.sent += sent

    def failed(self, code: int, received: int) -> None:
        """Count an error of the host's, by its canonical code."""
        status = status_of(code)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.received += received

    def add(self, other: Counts) -> None:
        for mine, more in ((self.statuses, other.statuses), (self.latencies, other.latencies)):
            for key, count in more.items():
                mine[key] = mine.get(key, 0) + count
        self.seconds += other.seconds
        self.received += other.received
        self.sent += other.sent
        self.unlogged += other.unlogged
        self.last = max(self.last, other.last)

    def percentile(self, share: float) -> float | None:
        """Seconds within which that share of the requests was answered; None when none was."""
        answered = sum(self.latencies.values())
        wanted, seen = math.ceil(share * answered), 0
        for bucket in sorted(self.latencies):
            seen += self.latencies[bucket]
            if seen >= wanted:
                return float(2.0 ** ((bucket - 0.5) / STEPS))
        return None

    def to_plain(self) -> dict[str, Any]:
        """As the store keeps it, without what is zero."""
        plain = {
            "statuses": {str(k): v for k, v in self.statuses.items()},
            "latencies": {str(k): v for k, v in self.latencies.items()},
            "seconds": self.seconds,
            "received": self.received,
            "sent": self.sent,
            "unlogged": self.unlogged,
            "last": self.last,
        }
        return {key: value for key, value in plain.items() if value}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Counts:
        numbered = {key: {int(k): v for k, v in plain.get(key, {}).items()} for key in ("statuses", "latencies")}
        return Counts(**{**plain, **numbered})


def status_of(code: int) -> int:
    """The HTTP status by which an error of the host's is counted."""
    return _STATUSES.get(code, 500)


def bucket_of(seconds: float) -> int:
    if seconds <= 0:
        return SHORTEST
    return min(max(math.ceil(math.log2(seconds) * STEPS), SHORTEST), LONGEST)


def total(parts: Iterable[Counts]) -> Counts:
    whole = Counts()
    for part in parts:
        whole.add(part)
    return whole
