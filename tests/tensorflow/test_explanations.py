"""Explanations of SavedModels: integrated gradients and sampled Shapley against closed forms."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters import runtimes

GRADIENTS = {"integratedGradientsAttribution": {"numIntegralSteps": 50}}
SHAPLEY = {"sampledShapleyAttribution": {"numPaths": 10}}


def answers(python: str, *requests: tuple[Path, dict[str, Any], dict[str, Any]]) -> list[tuple[int, Any]]:
    script, folder = Path(__file__).parent / "explained.py", Path(runtimes.__file__).parent
    asked = json.dumps([[str(directory), config, body] for directory, config, body in requests])
    done = subprocess.run(
        [python, str(script), str(folder)], input=asked, check=True, capture_output=True, text=True, timeout=300
    )
    return [(status, body) for status, body in json.loads(done.stdout)]


def labels(answer: tuple[int, Any]) -> list[dict[str, Any]]:
    assert answer[0] == 200, answer
    return [one["attributions_by_label"][0] for one in answer[1]["explanations"]]


def test_a_linear_and_a_softmax_model(python: str, models: Path, tmp_path: Path) -> None:
    named = models / "one" / "explanation_metadata.json"
    x = {"input_tensor_name": "x:0", "index_feature_mapping": ["a", "b"], "input_baselines": [[1, 0]]}
    named.write_text(json.dumps({"inputs": {"numbers": x}, "outputs": {"total": {"output_tensor_name": "sum"}}}))
    try:
        linear = {"instances": [[1, 2], [3, 4]]}
        soft = {"instances": [[1.0, -2.0, 0.5]]}
        square = {"instances": [{"x": [1, 2], "z": 3, "name": "n"}], "signature_name": "squares"}
        found = answers(
            python,
            (models / "one", GRADIENTS, linear),
            (models / "one", SHAPLEY, linear),
            (models / "keras", GRADIENTS, soft),
            (models / "keras", SHAPLEY, soft),
            (models / "many", GRADIENTS, {"instances": [[1, 2]]}),
            (models / "squares", GRADIENTS, square),
            (models / "squares", SHAPLEY, square),
        )
    finally:
        named.unlink()
    for answer in found[:2]:
        first, second = labels(answer)
        assert first["attributions"] == pytest.approx({"a": 0.0, "b": 4.0}, abs=1e-6)
        assert second["attributions"] == pytest.approx({"a": 2.0, "b": 8.0}, abs=1e-6)
        assert (first["baseline_score"], first["example_score"]) == pytest.approx((1.0, 5.0))
        assert first["output_name"] == "total"
    for answer in found[2:4]:
        (label,) = labels(answer)
        (attributions,) = label["attributions"].values()
        gained = label["example_score"] - label["baseline_score"]
        assert sum(attributions) == pytest.approx(gained, abs=1e-3)
        assert label["approx_error"] < 1e-2
    assert found[4][0] == 400
    assert "name one of them in outputs" in found[4][1]["error"]
    for answer in found[5:]:  # x1^2 + x2^2 + x1 z, the product shared by its two factors
        (label,) = labels(answer)
        assert label["attributions"] == {"x": pytest.approx([1 + 1.5, 4.0]), "z": pytest.approx(1.5)}
        assert label["output_name"] == "y"
