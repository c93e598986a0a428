"""BentoML with its own batching: concurrent requests of an endpoint are predicted together."""

import bentoml
import models_of
import numpy as np

TOGETHER = {"batchable": True, "batch_dim": 0, "max_batch_size": 256, "max_latency_ms": 50}


@bentoml.service(workers=1, traffic={"timeout": 60})
class Models:
    def __init__(self) -> None:
        self.models = models_of.load_all()

    @bentoml.api(**TOGETHER)
    def iris(self, instances: np.ndarray) -> np.ndarray:
        return self.models["iris"].predict(instances)

    @bentoml.api(**TOGETHER)
    def rf(self, instances: np.ndarray) -> np.ndarray:
        return self.models["rf"].predict(instances)

    @bentoml.api(**TOGETHER)
    def xgb(self, instances: np.ndarray) -> np.ndarray:
        return self.models["xgb"].predict(instances)
