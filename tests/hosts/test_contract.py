"""What a request gets, whatever it is predicted together with."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.adapters.runtimes import contract
from mlgate.adapters.runtimes.batching import answer
from mlgate.adapters.runtimes.frameworks import Model
from tests.hosts.models import iris

SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]


@pytest.fixture(params=["orjson", "json"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The contract, with and without orjson in the environment."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    found = importlib.util.spec_from_file_location("contract_again", contract.__file__)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b'{"instances": [NaN]}', "not JSON"),
        (b'{"instances": [Infinity]}', "not JSON"),
        (b"[[1, 2]]", "not a JSON object"),
        (b"{}", "no 'instances'"),
        (b'{"inputs": [1]}', "no 'instances'"),
        (b'{"instances": null}', "not a list"),
        (b'{"instances": {"a": 1}}', "not a list"),
        (b'{"instances": []}', "empty"),
        (b'{"instances": [{"b64": "x"}]}', "not base64"),
        (b'{"instances": [{"b64": 5}]}', "not base64"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "(Error code: 1)"),
        (b"[" * 100_000, "(Error code: 1)"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(reader: ModuleType, body: bytes, says: str) -> None:
    with pytest.raises(reader.Failed) as failed:
        reader.read_request(body)
    assert says in failed.value.text
    assert failed.value.text.endswith("(Error code: 1)")


@pytest.mark.parametrize(
    ("instances", "read"),
    [
        ('[[1, 2.5], ["a", null]]', [[1, 2.5], ["a", None]]),
        ('[{"b64": "aGk="}]', [b"hi"]),
        ('[{"\\u0062\\u0036\\u0034": "aGk="}]', [b"hi"]),
        ('[{"image": {"b64": "aGk="}, "key": [1, {"b64": ""}]}]', [{"image": b"hi", "key": [1, b""]}]),
        ('[{"b64": "aGk=", "key": 1}]', [{"b64": "aGk=", "key": 1}]),
    ],
)
def test_instances_are_read_with_base64_values_as_bytes(reader: ModuleType, instances: str, read: Any) -> None:
    body = f'{{"signature_name": "serving_default", "instances": {instances}}}'.encode()
    assert reader.read_request(body) == (read, {"signature_name": "serving_default"})


@pytest.mark.parametrize(
    ("predictions", "written"),
    [
        ([0, 1], "[0,1]"),
        ([1.5, float("nan"), float("inf")], "[1.5,null,null]"),
        ([{"a": [float("-inf")]}], '[{"a":[null]}]'),
        ([np.int64(3), np.float32(0.5), np.array([1, 2])], "[3,0.5,[1,2]]"),
        ([np.array([np.nan])], "[[null]]"),
        ([b"text", b"\xff"], '["text",{"b64":"/w=="}]'),
        (["é"], '["é"]'),
    ],
)
def test_predictions_are_always_valid_json(reader: ModuleType, predictions: Any, written: str) -> None:
    assert json.loads(reader.write_predictions(predictions)) == {"predictions": json.loads(written)}


def test_predictions_that_are_not_json_are_a_fault_of_the_outputs(reader: ModuleType) -> None:
    with pytest.raises(reader.Failed, match="cannot be written as JSON"):
        reader.write_predictions([object()])


def model(predict: Any = None) -> Model:
    return Model("sklearn", lambda instances, fields: np.array(instances), predict or iris().predict)


def asked(instances: Any) -> bytes:
    return json.dumps({"instances": instances}).encode()


def test_labels_are_predicted_and_not_probabilities() -> None:
    assert answer(model(), [asked([SETOSA, VIRGINICA])]) == [(200, b'{"predictions":[0,2]}')]


def test_a_failure_of_the_model_carries_its_code() -> None:
    ((status, body),) = answer(model(), [asked([[1.0, 2.0]])])
    assert status == 400
    text = json.loads(body)["error"]
    assert text.startswith("Failed to run the provided model: Exception during sklearn prediction: ")
    assert text.endswith("(Error code: 2)")


def test_ragged_instances_are_invalid_inputs() -> None:
    ((status, body),) = answer(model(), [asked([[1.0], [1.0, 2.0]])])
    assert status == 400
    assert json.loads(body)["error"].endswith("(Error code: 1)")


@pytest.mark.parametrize("raised", [MemoryError(), RecursionError("deep"), SystemExit(1), KeyError("x")])
def test_whatever_a_model_raises_is_an_answer(raised: BaseException) -> None:
    def predict(x: Any) -> Any:
        raise raised

    ((status, body),) = answer(model(predict), [asked([1])])
    assert status == 400
    assert "(Error code: 2)" in json.loads(body)["error"]


BODIES = st.one_of(
    st.lists(st.lists(st.floats(0, 8), min_size=4, max_size=4), min_size=1, max_size=3).map(asked),
    st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=3).map(asked),
    st.just(asked([["a", "b", "c", "d"]])),
    st.just(asked([["5.1", "3.5", "1.4", "0.2"]])),
    st.just(asked([[1.0, 2.0]])),
    st.just(asked([None])),
    st.just(asked([SETOSA, [1.0]])),
    st.just(b"nonsense"),
)


@given(st.lists(BODIES, max_size=12))
def test_a_request_gets_in_a_batch_what_it_would_get_alone(bodies: list[bytes]) -> None:
    assert answer(model(), bodies) == [answer(model(), [body])[0] for body in bodies]


def test_one_bad_row_does_not_fail_its_neighbours() -> None:
    def predict(x: Any) -> Any:
        if (x < 0).any():
            raise ValueError("negative")
        return x[:, 0]

    answers = answer(model(predict), [asked([[1.0]]), asked([[-1.0]]), asked([[3.0], [4.0]])])
    assert [status for status, _ in answers] == [200, 400, 200]
    assert [json.loads(body).get("predictions") for _, body in answers] == [[1.0], None, [3.0, 4.0]]


def test_a_model_that_loses_rows_is_asked_one_request_at_a_time() -> None:
    def predict(x: Any) -> Any:
        return x[:1, 0]

    answers = answer(model(predict), [asked([[1.0]]), asked([[2.0]])])
    assert [json.loads(body) for _, body in answers] == [{"predictions": [1.0]}, {"predictions": [2.0]}]


def test_a_neighbour_never_changes_the_type_of_the_instances() -> None:
    seen: list[Any] = []

    def predict(x: Any) -> Any:
        seen.append(x.dtype.kind)
        return x[:, 0]

    big = 2**53 + 1
    answers = answer(model(predict), [asked([[big]]), asked([[0.5]]), asked([["word"]])])
    assert [json.loads(body)["predictions"] for _, body in answers] == [[big], [0.5], ["word"]]
    assert sorted(seen) == ["U", "f", "i"]
