"""Ray Serve, a deployment with one replica for each model: `ray_server.py PORT FOLDER`."""

import sys
import time
from typing import Any

import models_of
import numpy as np
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1})
class Served:
    def __init__(self, name: str) -> None:
        self.model = models_of.load(name)

    async def __call__(self, request: Request) -> dict[str, Any]:
        instances = (await request.json())["instances"]
        return {"predictions": self.model.predict(np.array(instances)).tolist()}


if __name__ == "__main__":
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[2], object_store_memory=200_000_000
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    for model in ("iris", "rf", "xgb"):
        serve.run(Served.bind(model), name=model, route_prefix=f"/{model}")
    while True:
        time.sleep(60)
