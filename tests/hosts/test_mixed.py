"""The benchmark's mixed run, at a fiftieth of its length: right answers to the right callers while processes end."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.serving import mixed

REQUESTS = 20_000


@pytest.mark.long
def test_every_answer_is_right_while_versions_are_evicted_and_killed(tmp_path: Path) -> None:
    outcome = mixed.run(tmp_path / "data", REQUESTS, say=print)
    assert outcome.is_good(), outcome.examples
    assert outcome.killed
    assert outcome.statuses[200] > REQUESTS / 2
