"""A version answers predictions while it computes an explanation, and one that takes too long ends alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from tests.hosts.models import model_class, spec

#: A row costs two milliseconds of thought.
SLOW = """
until = time.process_time() + 0.002 * len(x)
while time.process_time() < until: pass
return x.sum(axis=1)
"""
ROW = b'{"instances": [[1.0, 2.0]]}'
LARGE = json.dumps({"instances": [list(range(30))]}).encode()


def test_predictions_are_answered_during_an_explanation(supervisor: ModelSupervisor, folder: Path) -> None:
    options = {"explanation": {"sampledShapleyAttribution": {"numPaths": 30}}}
    version = spec(folder, model_class(SLOW), "between", options=options)
    supervisor.load(version)

    async def inside() -> int:
        host = SocketModelHost(supervisor.run_dir)
        try:
            explaining = asyncio.ensure_future(host.explain(version, LARGE, 60))
            between = 0
            while not explaining.done():
                assert (await host.predict(version, ROW, 60)).body == b'{"predictions":[3.0]}'
                between += not explaining.done()
            answer = await explaining
            assert answer.status == 200
            label = json.loads(answer.body)["explanations"][0]["attributions_by_label"][0]
            assert label["attributions"]["features"] == pytest.approx(list(range(30)))
            return between
        finally:
            await host.close()

    assert asyncio.run(inside()) > 10
    supervisor.unload("between")


def test_one_that_takes_too_long_leaves_the_process_alone(supervisor: ModelSupervisor, folder: Path) -> None:
    options = {"explanation": {"sampledShapleyAttribution": {"numPaths": 50}}}
    version = spec(folder, model_class(SLOW), "late", options=options, seconds=2)
    supervisor.load(version)

    async def inside() -> None:
        host = SocketModelHost(supervisor.run_dir)
        try:
            late = await host.explain(version, LARGE, 60)
            assert late.status == 400
            assert "not done within the 2 seconds" in json.loads(late.body)["error"]
            assert (await host.predict(version, ROW, 60)).status == 200
        finally:
            await host.close()

    before = [row["pid"] for row in supervisor.running() if row["uid"] == "late"]
    asyncio.run(inside())
    assert [row["pid"] for row in supervisor.running() if row["uid"] == "late"] == before
    supervisor.unload("late")
