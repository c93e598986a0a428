"""Online prediction: the hot path. Nothing is parsed here, and nothing written: the model process reads the
body, and what is counted waits in memory.

The permission was checked on the resource that the URL names (R-073). A failure of the model is the model's own answer,
status 400 with {"error": "..."}; a fault of the server is the usual error body (serving.md, section 7).
"""

from __future__ import annotations

from mlgate.api.call import Call, Response
from mlgate.api.serving import noted, read, spec_of


async def predict(call: Call) -> Response:
    """Read the body, and relay it to the version's process."""
    body, model, version = await read(call)
    asked = call.services.host.predict(spec_of(call, version), body, call.settings.predict_timeout)
    answer = await noted(call, model, version, body, asked)
    return Response(status=answer.status, body=answer.body, media_type="application/json; charset=UTF-8")
