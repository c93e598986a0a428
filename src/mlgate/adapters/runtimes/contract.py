"""The contract of online prediction: `{"instances": [...]}` in, `{"predictions": [...]}` or `{"error": "..."}` out.

Copied behaviour: AI Platform's prediction service (cloud.google.com/ai-platform/prediction/docs/online-predict) and the
error classes of Google's own prediction library. A failure is a *string* with a code, never Google's error object:

    0 the model could not be loaded      1 the instances are wrong
    2 the model failed on them           3 its outputs cannot be written as JSON
    4 the user's own code cannot be used

orjson is used where the environment has it; json gives the same answers, slower.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any, NamedTuple

try:
    import orjson
except ImportError:  # an environment made for a model need not have it
    orjson = None  # type: ignore[assignment]

LOADING, INPUTS, RUNNING, OUTPUTS, USER_CODE = range(5)
_LEAD = (
    "Failed to load model: ",
    "Invalid inputs: ",
    "Failed to run the provided model: ",
    "There was a problem processing the outputs: ",
    "There was a problem processing the user code: ",
)
_HINT = 'the body must be a JSON object such as {"instances": [[1.0, 2.0], [3.0, 4.0]]}'
_LONGEST = 2000


class Failed(Exception):
    """A prediction or a load that failed; its text is what the caller reads."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        if len(detail) > _LONGEST:
            detail = detail[:_LONGEST] + "..."
        self.text = f"{_LEAD[code]}{detail} (Error code: {code})"


class Request(NamedTuple):
    """The instances of a request and its other top-level fields: `signature_name`, arguments of a custom routine."""

    instances: list[Any]
    fields: dict[str, Any]


def read_request(body: bytes) -> Request:
    """What a body asks for, base64 objects as bytes. Raises Failed(INPUTS)."""
    try:
        request = loads(body)
    except RecursionError:
        raise Failed(INPUTS, "the body is nested too deeply") from None
    except ValueError as error:
        raise Failed(INPUTS, f"the body is not JSON ({error}); {_HINT}") from None
    if not isinstance(request, dict):
        raise Failed(INPUTS, f"the body is not a JSON object; {_HINT}")
    if "instances" not in request:
        raise Failed(INPUTS, f"the body has no 'instances'; {_HINT}")
    instances = request["instances"]
    if not isinstance(instances, list):
        raise Failed(INPUTS, f"'instances' is not a list; {_HINT}")
    if not instances:
        raise Failed(INPUTS, f"'instances' is empty; {_HINT}")
    if body.count(b"{") > 1 and (b'"b64"' in body or b"\\u" in body):  # the key may be written with escapes
        try:
            request = {key: decoded(value) for key, value in request.items()}
        except RecursionError:
            raise Failed(INPUTS, "the instances are nested too deeply") from None
    return Request(request.pop("instances"), request)


#: What the server relays at most (hosts/client.py closes the connection of a model that sends more).
LARGEST_ANSWER = 16_000_000


def write_predictions(predictions: Any, name: str = "predictions") -> bytes:
    """The body of an answer; NaN and infinities, which JSON has not, become null. Raises Failed(OUTPUTS)."""
    try:
        body = dumps({name: predictions})
        if len(body) > LARGEST_ANSWER:
            raise ValueError(f"they take {len(body)} bytes, and {LARGEST_ANSWER} can be sent: ask for fewer instances")
        return body
    except (TypeError, ValueError, RecursionError) as error:
        raise Failed(OUTPUTS, f"the {name} cannot be written as JSON ({error})") from None


def write_failure(failure: Failed) -> bytes:
    return json.dumps({"error": failure.text}).encode("ascii")


def decoded(value: Any) -> Any:
    """Any object whose only key is `b64` as its bytes, recursively."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and "b64" in value:
        try:
            return base64.b64decode(value["b64"])
        except (TypeError, ValueError, binascii.Error) as error:
            raise Failed(INPUTS, f"a 'b64' value is not base64 ({error})") from None
    return {key: decoded(item) for key, item in value.items()}


def _plain(value: Any) -> Any:
    """What a model may give beside JSON's own types: arrays, array scalars, bytes, sets, dates."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, (set, frozenset)):
        return list(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


if orjson is not None:
    loads = orjson.loads

    def dumps(value: Any) -> bytes:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)

else:  # pragma: no cover - the tests run this branch in a process of its own

    def loads(body: bytes) -> Any:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)

    def dumps(value: Any) -> bytes:
        try:
            text = json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
        except ValueError:  # not finite, perhaps inside something that only _plain can open
            plain = json.loads(json.dumps(value, default=_plain))
            text = json.dumps(_finite(plain), separators=(",", ":"))
        return text.encode("ascii")
