"""A model host without processes: the twin of ModelHost and ModelLoader for tests, with a function as the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgate.adapters.runtimes import contract
from mlgate.core.errors import FailedPrecondition, Unimplemented
from mlgate.ports import ModelAnswer, ModelSpec


class MemoryModelHost:
    """Predicts with `model(instances) -> predictions` and speaks the same contract as a model process.

    Put an exception of `core.errors` in `failures` under a version's uid, and its load and predictions raise it.
    """

    def __init__(self, model: Callable[[list[Any]], Any] = list) -> None:
        self.model = model
        self.loaded: dict[str, ModelSpec] = {}
        self.failures: dict[str, Exception] = {}

    def load(self, spec: ModelSpec) -> str:
        failure = self.failures.get(spec.uid)
        if failure is not None:
            raise FailedPrecondition(str(failure))
        self.loaded[spec.uid] = spec
        return spec.framework or "SCIKIT_LEARN"

    def copy(self, spec: ModelSpec, target: Path) -> tuple[str, dict[str, Any]]:
        return self.load(spec), {"reason": "there are no copies in memory."}

    def unload(self, uid: str) -> None:
        self.loaded.pop(uid, None)

    async def explain(self, spec: ModelSpec, body: bytes, timeout: float) -> ModelAnswer:
        raise Unimplemented("There are no explanations in memory.")

    async def predict(self, spec: ModelSpec, body: bytes, timeout: float) -> ModelAnswer:
        if spec.uid in self.failures:
            raise self.failures[spec.uid]
        try:
            return ModelAnswer(200, contract.write_predictions(self._predictions(body)))
        except contract.Failed as failure:
            return ModelAnswer(400, contract.write_failure(failure))

    def _predictions(self, body: bytes) -> Any:
        instances = contract.read_request(body).instances
        try:
            return self.model(instances)
        except Exception as error:  # noqa: BLE001 - a model may raise anything at all
            raise contract.Failed(contract.RUNNING, f"Exception during memory prediction: {error}") from None
