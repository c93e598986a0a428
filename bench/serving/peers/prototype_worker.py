"""The prototype's worker: a blocking loop on one socket; frames are described in prototype_front.py.

With PROTOTYPE_BATCHING it predicts together what has already arrived, without a timer. With PROTOTYPE_ONNX each model
is a copy for ONNX Runtime.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import models_of
import numpy as np
import orjson

REQUEST = struct.Struct("<IIB")
ANSWER = struct.Struct("<IIH")
IS_BATCHING = "PROTOTYPE_BATCHING" in os.environ
IS_ONNX = "PROTOTYPE_ONNX" in os.environ

Predict = Callable[[Any], Any]
Request = tuple[int, bytes, bytes]
Answer = tuple[int, int, bytes]


@cache
def predict_of(name: bytes) -> Predict:
    model = models_of.load(name.decode())
    return onnx_copy(model, name == b"xgb") if IS_ONNX else model.predict


def onnx_copy(model: Any, is_xgboost: bool) -> Predict:
    import onnxmltools
    import onnxruntime
    import skl2onnx
    from onnxmltools.convert.common.data_types import FloatTensorType
    from skl2onnx.common.data_types import FloatTensorType as ScikitTensorType

    if is_xgboost:
        inputs = [("x", FloatTensorType([None, model.n_features_in_]))]
        graph = onnxmltools.convert_xgboost(model, initial_types=inputs)
    else:
        inputs = [("x", ScikitTensorType([None, model.n_features_in_]))]
        graph = skl2onnx.to_onnx(model, initial_types=inputs, options={"zipmap": False})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    labels = [session.get_outputs()[0].name]
    return lambda x: session.run(labels, {"x": x.astype(np.float32)})[0]


def encode(predictions: Any) -> bytes:
    return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def alone(name: bytes, body: bytes) -> tuple[int, bytes]:
    try:
        return 200, encode(predict_of(name)(np.array(orjson.loads(body)["instances"])))
    except Exception as error:  # noqa: BLE001 - what a body may do to a model
        return 400, orjson.dumps({"error": str(error)})


def together(requests: Sequence[Request]) -> Iterator[Answer]:
    by_model: dict[bytes, list[Request]] = {}
    for request in requests:
        by_model.setdefault(request[1], []).append(request)
    for name, group in by_model.items():
        try:
            yield from joined(name, group)
        except Exception:  # noqa: BLE001 - one bad request must not fail its neighbours
            yield from ((number, *alone(name, body)) for number, name, body in group)


def joined(name: bytes, group: Sequence[Request]) -> list[Answer]:
    parts = [orjson.loads(body)["instances"] for _, _, body in group]
    predictions, start, answers = predict_of(name)(np.array([row for part in parts for row in part])), 0, []
    for (number, _, _), part in zip(group, parts, strict=True):
        answers.append((number, 200, encode(predictions[start : start + len(part)])))
        start += len(part)
    return answers


def arrived(connection: socket.socket) -> Iterator[list[Request]]:
    """What is there, whenever something is there."""
    incoming = bytearray()
    while data := connection.recv(1 << 20):
        incoming += data
        requests, start = [], 0
        while len(incoming) - start >= REQUEST.size:
            length, number, named = REQUEST.unpack_from(incoming, start)
            end, body = start + 4 + length, start + REQUEST.size + named
            if len(incoming) < end:
                break
            requests.append((number, bytes(incoming[body - named : body]), bytes(incoming[body:end])))
            start = end
        del incoming[:start]
        yield requests


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    for requests in arrived(connection):
        if IS_BATCHING and len(requests) > 1:
            answers = list(together(requests))
        else:
            answers = [(number, *alone(name, body)) for number, name, body in requests]
        connection.sendall(b"".join(ANSWER.pack(6 + len(body), n, status) + body for n, status, body in answers))


if __name__ == "__main__":
    main()
