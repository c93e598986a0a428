"""Counting without a server: percentiles, adding up, and what reaches the store when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest

from mlgate.adapters.db.migrate import migrate
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.api import usage as counting
from mlgate.api.usage import Usage
from mlgate.core.usage import LONGEST, SHORTEST, Counts, bucket_of, total


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    migrate(sqlite_url(tmp_path))
    made = SqlStore(sqlite_url(tmp_path))
    yield made
    made.close()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def of(seconds: Any) -> Counts:
    counts = Counts()
    for one in seconds:
        counts.answered(200, float(one), 1, 2)
    return counts


def test_percentiles_are_near_the_true_ones() -> None:
    seconds = numpy.random.RandomState(1).lognormal(-6, 1.5, 5000)
    counts = of(seconds)
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        exact = numpy.quantile(seconds, share, method="inverted_cdf")
        found = counts.percentile(share)
        assert found is not None
        assert abs(found / exact - 1) < 0.1
    assert Counts().percentile(0.5) is None


def test_no_time_is_out_of_range() -> None:
    assert bucket_of(0) == bucket_of(-1.0) == bucket_of(1e-12) == SHORTEST
    assert bucket_of(1e9) == LONGEST


def test_counts_add_up_and_come_back_from_the_store_as_they_were() -> None:
    one, two = of([0.1, 0.2]), of([0.2])
    one.failed(14, 5)
    one.failed(8, 5)
    one.failed(13, 5)
    both = total([one, two])
    assert both.statuses == {200: 3, 503: 1, 429: 1, 500: 1}
    assert (both.requests, both.errors, both.received, both.sent) == (6, 3, 18, 6)
    assert sum(both.latencies.values()) == 3
    assert Counts.from_plain(both.to_plain()) == both
    assert Counts().to_plain() == {}


def test_what_was_counted_is_stored_before_its_minute_is_over(store: SqlStore, executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        moment = [599.9]
        usage = Usage(store, executor, lambda: moment[0])
        usage.of("7").answered(200, 0.1, 1, 1)
        moment[0] = 601.0
        until = time.monotonic() + 60
        while not rows() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        usage.of("7").answered(200, 0.1, 1, 1)
        usage.close()

    def rows() -> list[tuple[int, Counts]]:
        with store.read() as tx:
            return tx.usage(["7"], 0, 100)

    asyncio.run(run())
    assert [(minute, counts.requests) for minute, counts in rows()] == [(9, 1), (10, 1)]


def test_a_store_that_fails_is_tried_again_and_nothing_is_counted_twice(
    store: SqlStore, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]
    write = store.write

    def failing() -> Any:
        if broken[0]:
            raise OSError("gone")
        return write()

    monkeypatch.setattr(store, "write", failing)

    async def run() -> None:
        usage = Usage(store, executor, lambda: 60.0)
        for _ in range(3):
            usage.of("7").answered(200, 0.1, 1, 1)
            usage.close()
        broken[0] = False
        usage.add({"7": Counts(unlogged=2)})

    asyncio.run(run())
    with store.read() as tx:
        ((_, counts),) = tx.usage(["7"], 0, 100)
    assert (counts.requests, counts.unlogged) == (3, 2)


def test_an_idle_process_writes_nothing(
    store: SqlStore, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "FLUSH_SECONDS", 0.01)
    written: list[Any] = []

    async def run() -> None:
        usage = Usage(store, executor)
        monkeypatch.setattr(usage, "_save", lambda: written.append(1))
        await asyncio.sleep(0.2)
        assert written == []
        usage.of("7").answered(200, 0.1, 1, 1)
        until = time.monotonic() + 60
        while not written and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)

    asyncio.run(run())
    assert written == [1]
