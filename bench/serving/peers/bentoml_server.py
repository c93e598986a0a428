"""BentoML: one service with an endpoint for each model."""

from typing import Any

import bentoml
import models_of
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 60})
class Models:
    def __init__(self) -> None:
        self.models = models_of.load_all()

    def answer(self, name: str, instances: list[list[float]]) -> dict[str, Any]:
        return {"predictions": self.models[name].predict(np.array(instances)).tolist()}

    @bentoml.api
    def iris(self, instances: list[list[float]]) -> dict:
        return self.answer("iris", instances)

    @bentoml.api
    def rf(self, instances: list[list[float]]) -> dict:
        return self.answer("rf", instances)

    @bentoml.api
    def xgb(self, instances: list[list[float]]) -> dict:
        return self.answer("xgb", instances)
