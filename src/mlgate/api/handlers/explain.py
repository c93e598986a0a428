"""Explanations of predictions: as predictions, by the version's own process (adapters/runtimes/explaining.py)."""

from __future__ import annotations

from mlgate.api.call import Call, Response
from mlgate.api.serving import noted, read, spec_of
from mlgate.core.errors import FailedPrecondition


async def explain(call: Call) -> Response:
    """How much each feature of each instance counts for its score.

    Raises NotFound, FailedPrecondition for a version without explanationConfig, and what predictions raise.
    """
    body, model, version = await read(call)
    if not version.explanation:
        raise FailedPrecondition(
            f"{call.resource} cannot be explained: deploy a version with explanationConfig, such as "
            '{"sampledShapleyAttribution": {"numPaths": 25}}.'
        )
    asked = call.services.host.explain(spec_of(call, version), body, call.settings.predict_timeout)
    answer = await noted(call, model, version, body, asked)
    return Response(status=answer.status, body=answer.body)
