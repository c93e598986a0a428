"""Models without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def predict_locally(directory: Path, framework: str, body: bytes) -> dict[str, Any]:
    """What a model in a local directory predicts, loaded into this very process: its answer, or {"error": ...}."""
    from mlgate.adapters.runtimes import batching, contract, frameworks

    try:
        _, model = frameworks.load_model(framework, str(directory), {})
    except contract.Failed as failure:
        return {"error": failure.text}
    [(_, answer)] = batching.answer(model, [body])
    predicted: dict[str, Any] = json.loads(answer)
    return predicted
