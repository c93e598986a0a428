"""What the handlers of predictions and explanations share: which version is meant, what its process is to load, and
what is remembered of the answer."""

from __future__ import annotations

from collections.abc import Awaitable
from time import perf_counter

from mlgate.api.call import Call
from mlgate.api.prediction_log import Prediction
from mlgate.core.errors import FailedPrecondition, NotFound, RpcError
from mlgate.core.names import id_of, join, model_of
from mlgate.core.usage import status_of
from mlgate.ports import ModelAnswer, ModelSpec
from mlgate.snapshot import ServedModel, ServedVersion


async def read(call: Call) -> tuple[bytes, ServedModel, ServedVersion]:
    """The body, and the model and version that are to answer it.

    Reading may have taken long, so the call is decided again; what answers is then the present version, no newer than
    the decision. Raises NotFound, FailedPrecondition.
    """
    body = await call.request.body.read(call.settings.max_predict)
    model_name, snapshot = model_of(call.resource), call.services.snapshot
    model = snapshot.served.get(model_name)
    if not (call.request.is_whole and snapshot.stands_at(call.decided)):
        call.authorize()
        while model is not (newer := snapshot.served.get(model_name)):
            model = newer
            call.authorize()
    if model is None:
        raise NotFound(f"Resource '{model_name}' was not found.")
    return body, model, _version(call, model_name, model)


def _version(call: Call, model_name: str, model: ServedModel) -> ServedVersion:
    """The version that the URL names, or the model's default."""
    version_id = id_of(call.resource) if call.resource != model_name else model.default
    if version_id in model.versions:
        return model.versions[version_id]
    if not version_id:
        raise FailedPrecondition(f"Model {model_name} has no default version: deploy one first.")
    raise NotFound(f"{call.resource} is not deployed: its version does not exist or is not READY.")


def spec_of(call: Call, version: ServedVersion) -> ModelSpec:
    """What the version's process is to load; kept for as long as the version stays as it is."""
    services, settings = call.services, call.settings
    kept = services.specs.get(version.uid)
    if kept is None or kept[0] is not version:
        python = services.interpreter(version.environment)
        spec = version.spec(services.models_dir, python, settings.model_memory, settings.predict_timeout)
        kept = services.specs[version.uid] = (version, spec)
    return kept[1]


async def noted(
    call: Call, model: ServedModel, version: ServedVersion, body: bytes, asked: Awaitable[ModelAnswer]
) -> ModelAnswer:
    """The answer, counted, and logged where the model or the version wants that. Raises what the model host raises."""
    began = perf_counter()
    try:
        answer = await asked
    except RpcError as error:
        call.services.usage.of(version.uid).failed(error.number, len(body))
        if model.access_log:
            status, seconds = status_of(error.number), perf_counter() - began
            call.services.predictions.access(_prediction(call, model, version, status, seconds, body, 0))
        raise
    seconds = perf_counter() - began
    call.services.usage.of(version.uid).answered(answer.status, seconds, len(body), len(answer.body))
    if version.logging is not None or model.access_log:
        prediction = _prediction(call, model, version, answer.status, seconds, body, len(answer.body))
        if model.access_log:
            call.services.predictions.access(prediction)
        if version.logging is not None:
            call.services.predictions.sample(prediction, version.logging, body, answer.body)
    return answer


def _prediction(
    call: Call, model: ServedModel, version: ServedVersion, status: int, seconds: float, body: bytes, sent: int
) -> Prediction:
    model_name = model_of(call.resource)
    version_id = id_of(call.resource) if call.resource != model_name else model.default
    return Prediction(
        version=join(model_name, "versions", version_id),
        uid=version.uid,
        method=call.method.template.verb,
        time=call.services.clock.now(),
        status=status,
        seconds=seconds,
        received=len(body),
        sent=sent,
    )
