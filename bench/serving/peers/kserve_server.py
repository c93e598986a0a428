"""KServe's Python SDK with its V1 protocol: `kserve_server.py PORT`."""

import sys
from typing import Any

import models_of
import numpy as np
from kserve import Model, ModelServer


class Served(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model = models_of.load(name)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: Any = None, **_: Any) -> dict[str, Any]:
        return {"predictions": self.model.predict(np.array(payload["instances"])).tolist()}


if __name__ == "__main__":
    server = ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1, access_log_format=None)
    server.start([Served(name) for name in ("iris", "rf", "xgb")])
