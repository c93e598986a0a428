"""Online prediction: the hot path. Nothing is written and nothing is parsed here; the model process reads the body.

The permission was checked on the resource that the URL names (R-073). A failure of the model is the model's own answer,
status 400 with {"error": "..."}; a fault of the server is the usual error body (serving.md, section 7).
"""

from __future__ import annotations

from mlgate.api.call import Call, Response
from mlgate.core.errors import FailedPrecondition, NotFound
from mlgate.core.names import id_of, model_of
from mlgate.ports import ModelSpec
from mlgate.snapshot import ServedModel, ServedVersion


async def predict(call: Call) -> Response:
    """Read the body, decide again (reading may have taken long), and relay to the version's process."""
    body = await call.request.body(call.settings.max_predict)
    served = _served(call)
    call.authorize()
    while served is not (newer := _served(call)):  # what answers is the present version, no newer than the decision
        served = newer
        call.authorize()
    version = _version(call, served)
    answer = await call.services.host.predict(_spec_of(call, version), body, call.settings.predict_timeout)
    return Response(status=answer.status, body=answer.body, media_type="application/json; charset=UTF-8")


def _served(call: Call) -> ServedModel | None:
    return call.services.snapshot.served.get(model_of(call.resource))


def _version(call: Call, model: ServedModel | None) -> ServedVersion:
    """The version that the URL names, or the model's default."""
    model_name = model_of(call.resource)
    if model is None:
        raise NotFound(f"Resource '{model_name}' was not found.")
    version_id = id_of(call.resource) if call.resource != model_name else model.default
    if version_id in model.versions:
        return model.versions[version_id]
    if not version_id:
        raise FailedPrecondition(f"Model {model_name} has no default version: deploy one first.")
    raise NotFound(f"{call.resource} is not deployed: its version does not exist or is not READY.")


def _spec_of(call: Call, version: ServedVersion) -> ModelSpec:
    """What the version's process is to load; kept, since a uid never stands for anything else."""
    kept = call.services.specs.get(version.uid)
    if kept is None:
        python = call.services.interpreter(version.environment)
        kept = version.spec(call.services.models_dir, python, call.settings.model_memory)
        call.services.specs[version.uid] = kept
    return kept
