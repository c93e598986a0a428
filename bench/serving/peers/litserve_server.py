"""LitServe, which serves one model with one worker process: `litserve_server.py MODEL PORT`."""

import sys
from typing import Any

import litserve
import models_of
import numpy as np


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = models_of.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["instances"])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
