"""The limit of the model: JSON in, predict, JSON out in a plain loop. `in_process.py MODEL BODY SECONDS` prints a line.

XGBoost is asked as mlgate asks it, without the copy into a matrix of its own.
"""

import json
import sys
import time
from pathlib import Path

import models_of
import numpy as np
import orjson

name, body, seconds = sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3])
model = models_of.load(name)
predict = model.get_booster().inplace_predict if name == "xgb" else model.predict


def once() -> bytes:
    predictions = predict(np.array(orjson.loads(body)["instances"]))
    return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def loop(seconds: float) -> dict[str, float]:
    taken = []
    began, cpu = time.perf_counter(), time.process_time()
    while not taken or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        once()
        taken.append(time.perf_counter() - start)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - began
    taken.sort()
    return {
        "per_second": len(taken) / elapsed,
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
        "cpu_us": cpu / len(taken) * 1e6,
    }


loop(min(seconds, 1))
print(json.dumps(loop(seconds)))
