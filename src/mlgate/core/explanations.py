"""explanationConfig: which method explains a version's predictions, and how thoroughly.

One method a version. Sampled Shapley is for every framework; integrated gradients are for TensorFlow, whose models have
derivatives. The old service's bounds are those of its successor (cloud.google.com/vertex-ai/docs/reference/rest/v1/
ExplanationSpec): 1 to 50 paths, 1 to 100 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgate.core.errors import InvalidArgument, Unimplemented

#: Each method's one option, and the most that it may be.
METHODS: Mapping[str, tuple[str, int]] = {
    "sampledShapleyAttribution": ("numPaths", 50),
    "integratedGradientsAttribution": ("numIntegralSteps", 100),
    "xraiAttribution": ("numIntegralSteps", 100),
}


def check(version: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a version's explanationConfig that is wrong or does not fit the version, Unimplemented
    for XRAI."""
    config = version.get("explanationConfig")
    if config is None:
        return
    if len(config) != 1:
        given = f"it names {', '.join(sorted(config))}" if config else "it names none"
        raise _refuse("", f"explanationConfig must name one method of {', '.join(METHODS)}; {given}.")
    if version.get("predictionClass"):
        raise _refuse(
            "", "explanationConfig is not for custom prediction routines: their code is not known to the server."
        )
    ((method, options),) = config.items()
    framework = version.get("framework", "FRAMEWORK_UNSPECIFIED")
    if method != "sampledShapleyAttribution" and framework in ("SCIKIT_LEARN", "XGBOOST"):
        raise _refuse(method, f"{method} is for TensorFlow models; use sampledShapleyAttribution for {framework}.")
    option, most = METHODS[method]
    value = options.get(option, 0)
    if not 1 <= value <= most:
        raise _refuse(f"{method}.{option}", f"{method}.{option} is {value}; it must be between 1 and {most}.")
    if method == "xraiAttribution":
        raise Unimplemented("Version.explanationConfig.xraiAttribution is not implemented by this server.")


def _refuse(field: str, message: str) -> InvalidArgument:
    path = f"version.explanationConfig.{field}".rstrip(".")
    return InvalidArgument(message, fields=[(path, message)])
