"""SavedModels in a real TensorFlow, in each way of confinement that this machine has."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.hosts.sandbox import NONE, probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.ports import ModelSpec


class Asker:
    def __init__(self, run: Path, mode: str, models: Path, python: str) -> None:
        sandbox = probe(mode)
        assert sandbox.mode != NONE, sandbox.reason
        self.supervisor = ModelSupervisor(run, sandbox, ready_seconds=300)
        self.specs = {n: ModelSpec(n, str(models / n), "", python) for n in ("one", "many", "keras")}
        self.frameworks = [self.supervisor.load(spec) for spec in self.specs.values()]

    def __call__(self, name: str, *bodies: Any) -> list[tuple[int, Any]]:
        """Status and body of each, all asked at once."""

        async def inside() -> list[tuple[int, Any]]:
            host = SocketModelHost(self.supervisor.run_dir)
            spec = ModelSpec(name, self.specs[name].directory, "TENSORFLOW", self.specs[name].python)
            try:
                sent = [host.predict(spec, json.dumps(body).encode(), 60) for body in bodies]
                return [(one.status, json.loads(one.body)) for one in await asyncio.gather(*sent)]
            finally:
                await host.close()

        return asyncio.run(inside())


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def ask(
    request: pytest.FixtureRequest, models: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Asker(tmp_path_factory.mktemp("run"), request.param, models, python)
    yield made
    made.supervisor.close()


def test_the_files_tell_the_framework(ask: Asker) -> None:
    assert ask.frameworks == ["TENSORFLOW"] * 3


IMAGE = {"b64": "/w=="}


@pytest.mark.parametrize(
    ("model", "body", "predictions"),
    [
        ("one", {"instances": [[1, 2]]}, [{"sum": [5.0], "first": 1.0}]),
        ("one", {"instances": [{"x": [1, 2]}, [3, 4]]}, [{"sum": [5.0], "first": 1.0}, {"sum": [11.0], "first": 3.0}]),
        ("one", {"instances": [[1, 2]], "signature_name": "only"}, [{"sum": [5.0], "first": 1.0}]),
        ("many", {"instances": [[1, 2]]}, [{"sum": [5.0], "first": 1.0}]),
        ("many", {"instances": [1.5], "signature_name": "failing"}, [{"y": 1.5}]),
        (
            "many",
            {
                "instances": [{"image_bytes": IMAGE, "key": 5}, {"image_bytes": "hi", "key": 6}],
                "signature_name": "keyed",
            },
            [
                {"key": 5, "image_bytes": IMAGE, "text": "5"},
                {"key": 6, "image_bytes": {"b64": "aGk="}, "text": "6"},
            ],
        ),
    ],
)
def test_instances_are_predicted_by_the_signature(ask: Asker, model: str, body: Any, predictions: Any) -> None:
    assert ask(model, body) == [(200, {"predictions": predictions})]


@pytest.mark.parametrize(
    ("body", "says", "code"),
    [
        ({"instances": [1], "signature_name": "none"}, "No signature found for signature key none", 1),
        ({"instances": [[1]]}, "input x has the shape (1, 1); the model takes (None, 2)", 1),
        ({"instances": [["a", "b"]]}, "the values of input x cannot be float32: they are strings", 1),
        ({"instances": [{"y": [1, 2]}]}, "Expected tensor name: x, got tensor name: ['y']", 1),
        ({"instances": [{"key": 1, "z": 1}], "signature_name": "keyed"}, "Unexpected tensor name: z", 1),
        ({"instances": [{"key": 1}], "signature_name": "keyed"}, "Input image_bytes was missing in at least one", 1),
        ({"instances": [{"key": 1.5, "image_bytes": ""}], "signature_name": "keyed"}, "key cannot be int64", 1),
        ({"instances": [{"key": 2**70, "image_bytes": ""}], "signature_name": "keyed"}, "key cannot be int64", 1),
        ({"instances": [{"key": 1, "image_bytes": 5}], "signature_name": "keyed"}, "5 is not a string", 1),
        ({"instances": [50], "signature_name": "failing"}, "too large", 2),
        ({"instances": [1], "signature_name": "uneven"}, "differing sizes in the batch (outer) dimension", 3),
    ],
)
def test_what_is_wrong_is_told(ask: Asker, body: Any, says: str, code: int) -> None:
    ((status, answer),) = ask("many", body)
    assert status == 400
    assert says in answer["error"]
    assert answer["error"].endswith(f"(Error code: {code})")


def test_a_keras_model_is_served_as_it_is_exported(ask: Asker) -> None:
    ((status, answer),) = ask("keras", {"instances": [[1, 2, 3], [4, 5, 6]]})
    assert status == 200, answer
    for row in answer["predictions"]:
        (probabilities,) = row.values()
        assert sum(probabilities) == pytest.approx(1.0)


def test_requests_at_once_get_their_own_answers_and_one_bad_one_fails_alone(ask: Asker) -> None:
    bodies = [{"instances": [float(i % 20)], "signature_name": "failing"} for i in range(200)]
    for i, (status, answer) in enumerate(ask("many", *bodies)):
        if i % 20 < 10:
            assert (status, answer) == (200, {"predictions": [{"y": float(i % 20)}]})
        else:
            assert status == 400
            assert "too large" in answer["error"]
