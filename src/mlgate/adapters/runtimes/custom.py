"""Custom prediction routines: a class of the user's own, from packageUris.

    predictor    from_path(model_dir) or from_model_path(model_dir); predict(instances, **kwargs) answers by itself
    processor    the older form, without predict: preprocess(instances) and postprocess(instances), either or both,
                 around the model that the files hold; from_model_path(model_dir), from_path(model_dir) or no argument

Top-level fields of the request other than `instances` are keyword arguments. Instances come as they are, base64
objects as bytes; what is returned is written as it is, bytes as base64 objects.
"""

from __future__ import annotations

import base64
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .contract import INPUTS, LOADING, OUTPUTS, RUNNING, USER_CODE, Failed
from .frameworks import Model, listed, load_model


def load(directory: str, options: Mapping[str, Any]) -> Model:
    name = options["prediction_class"]
    found = _find(name)
    if callable(getattr(found, "predict", None)):
        return _predictor(_made(found, name, directory, ("from_path", "from_model_path")), name)
    if not hasattr(found, "preprocess") and not hasattr(found, "postprocess"):
        raise Failed(
            USER_CODE,
            f"{name} has no method predict(self, instances, **kwargs), nor preprocess or postprocess of a processor.",
        )
    processor = _made(found, name, directory, ("from_model_path", "from_path", ""))
    for step in ("preprocess", "postprocess"):
        if hasattr(processor, step):
            _check(getattr(processor, step), f"{name}.{step}(self, instances, **kwargs)", None)
    return _around(processor, load_model("", directory, {})[1])


# ---------------------------------------------------------------------------------------------------------- the class


def _find(name: str) -> Any:
    """The class that `package.module.Class` names. Raises Failed(USER_CODE)."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and (module + ".").startswith(error.name + "."):
                continue  # not a module, perhaps a class in one; or not there at all
            raise Failed(
                USER_CODE,
                f"{name} needs the module '{error.name}', which neither packageUris nor the version's environment has:"
                " packages are installed without what they depend on, so give a wheel of it in packageUris, too.",
            ) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
            raise Failed(USER_CODE, f"the module {module} cannot be imported: {_told(error)}") from None
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if callable(found):
            return found
        break
    raise Failed(
        USER_CODE,
        f"{name} cannot be found: predictionClass must be the full name of a class, PACKAGE.MODULE.CLASS, in the"
        " packages of packageUris.",
    )


def _made(found: Any, name: str, directory: str, ways: tuple[str, ...]) -> Any:
    """An instance, by the first of `ways` that the class has ("" calls it). Raises Failed(USER_CODE)."""
    way = next((way for way in ways if not way or hasattr(found, way)), None)
    if way is None:
        raise Failed(USER_CODE, f"{name} must have a class method from_path(cls, model_dir).")
    given = [directory] if way else []
    make = getattr(found, way) if way else found
    _check(make, f"{name}.{way}(cls, model_dir)" if way else f"{name}()", *given)
    try:
        return make(*given)
    except MemoryError:
        raise Failed(LOADING, f"{name} does not fit in the memory limit of its process.") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        raise Failed(USER_CODE, f"{name}.{way or '__init__'} raised {_told(error)}") from None


def _check(function: Any, expected: str, *given: Any) -> None:
    """Raises Failed(USER_CODE) for what cannot be called with these arguments."""
    if not callable(function):
        raise Failed(USER_CODE, f"{expected} is not a method.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: it will say so itself
    try:
        signature.bind(*given)
    except TypeError as error:
        raise Failed(USER_CODE, f"{expected} is wanted, and what is given takes {signature}: {error}.") from None


# ------------------------------------------------------------------------------------------------------------ serving


def _predictor(predictor: Any, name: str) -> Model:
    _check(predictor.predict, f"{name}.predict(self, instances, **kwargs)", None)

    def predict(inputs: tuple[Any, Mapping[str, Any]]) -> Any:
        instances, fields = inputs
        return _called(predictor.predict, instances, fields, RUNNING, "custom prediction")

    return Model("custom", lambda *inputs: inputs, predict, rows=_writable, key=lambda inputs: None)


def _around(processor: Any, model: Model) -> Model:
    """The model with the processor's steps before and after it; each request alone.

    As on the old service, steps around a model of arrays take arrays, and those around TensorFlow lists of instances.
    """
    takes_arrays = model.rows is listed

    def step(name: str, given: Any, fields: Mapping[str, Any], code: int) -> Any:
        function = getattr(processor, name, None)
        return given if function is None else _called(function, given, fields, code, name + "ing")

    def prepare(instances: Any, fields: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        own = {key: value for key, value in fields.items() if key != "signature_name"}
        if takes_arrays:
            return step("preprocess", model.prepare(instances, fields), own, INPUTS), own
        return model.prepare(step("preprocess", instances, own, INPUTS), fields), own

    def predict(inputs: tuple[Any, Mapping[str, Any]]) -> Any:
        output = model.predict(inputs[0])
        return step("postprocess", output if takes_arrays else model.rows(output), inputs[1], OUTPUTS)

    return Model(model.label, prepare, predict, model.hint, rows=_writable, key=lambda inputs: None)


def _called(function: Callable[..., Any], given: Any, fields: Mapping[str, Any], code: int, step: str) -> Any:
    try:
        return function(given, **fields)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        raise Failed(code, f"Exception during {step}: {_told(error)}") from None


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _writable(value: Any) -> Any:
    """A routine's answer as JSON has it; bytes as a base64 object, whatever they hold."""
    if isinstance(value, (bytes, bytearray)):
        return {"b64": base64.b64encode(bytes(value)).decode("ascii")}
    if hasattr(value, "tolist"):
        return _writable(value.tolist())
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) or inspect.isgenerator(value):
        return [_writable(item) for item in value]
    return value
