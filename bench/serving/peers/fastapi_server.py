"""The server that people write by hand: FastAPI, a pydantic body, a plain function, one uvicorn process."""

import models_of
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

MODELS = models_of.load_all()
app = FastAPI()


class Instances(BaseModel):
    instances: list[list[float]]


@app.post("/v1/models/{name}:predict")
def predict(name: str, body: Instances) -> dict[str, list[float]]:
    return {"predictions": MODELS[name].predict(np.array(body.instances)).tolist()}
