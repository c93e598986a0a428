"""Messages and their JSON: the proto3 mapping, from type annotations alone.

A message is a class with annotated fields, each optional:

    class Model(Message, schema="GoogleCloudMlV1__Model"):
        name: str | None = None
        online_prediction_logging: bool | None = None
        default_version: Version | None = None

`decode` accepts what Google's services accept: camelCase and snake_case names, int64 as number or string, enum values
by name or number, null for absent, durations as objects too. It reads the whole body before it complains, so that one
answer names every unknown field. `encode` writes camelCase and leaves out what is unset, empty or false.
`describe` gives the JSON schema of a message for the discovery document. One table of scalars serves all three.
"""

from __future__ import annotations

import itertools
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from mlgate.core.errors import InvalidArgument
from mlgate.core.wire import (
    INT64_MAX,
    INT64_MIN,
    camel,
    decode_base64,
    encode_base64,
    format_duration,
    format_timestamp,
    parse_duration,
    parse_timestamp,
    split_mask,
)

Violations = list[tuple[str, str]]

#: Decoding ends after so many faults, and a fault's path holds so much of each name and so many characters in all: the
#: work for a body grows with its size, whatever is in it.
MAX_FAULTS = 100
_MAX_ELEMENT, _MAX_PATH = 100, 1000


@dataclass_transform(kw_only_default=True, eq_default=False)
class Message:
    """A request, response or resource of an API."""

    schema: ClassVar[str] = ""
    wire_names: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, schema: str = "", wire_names: Mapping[str, str] | None = None) -> None:
        cls.schema = schema or cls.__name__
        cls.wire_names = wire_names or {}
        dataclass(kw_only=True, eq=False)(cls)


class Empty(Message, schema="GoogleProtobuf__Empty"):
    """Nothing to say."""


M = TypeVar("M", bound=Message)


# ---------------------------------------------------------------------------------------------------------- scalars


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a string")
    if "\x00" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("it holds a character that no text may hold")
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("it must be true or false")


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def decode_integer(value: Any) -> int:
        if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdigit() and len(value) < 25:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("it must be a whole number")
        if not low <= value <= high:
            raise ValueError(f"it must be between {low} and {high}")
        return value

    return decode_integer


_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _double(value: Any) -> float:
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise ValueError("it must be a number")
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it must be a number")
    return float(value)


def _show_double(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _moment(value: Any) -> datetime:
    return parse_timestamp(_text(value))


def _base64(value: Any) -> bytes:
    return decode_base64(_text(value))


def _mask(value: Any) -> str:
    return ",".join(split_mask(_text(value)))


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, eq=False)
class Scalar:
    """How one scalar type is read, written, and described in a discovery document."""

    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]
    described: Mapping[str, str]


Int64 = Annotated[int, Scalar(_integer(INT64_MIN, INT64_MAX), str, {"type": "string", "format": "int64"})]
UInt64 = Annotated[int, Scalar(_integer(0, 2**64 - 1), str, {"type": "string", "format": "uint64"})]
Float = Annotated[float, Scalar(_double, _show_double, {"type": "number", "format": "float"})]
Duration = Annotated[float, Scalar(parse_duration, format_duration, {"type": "string", "format": "google-duration"})]
Timestamp = Annotated[datetime, Scalar(_moment, format_timestamp, {"type": "string", "format": "google-datetime"})]
DateTime = Annotated[datetime, Scalar(_moment, format_timestamp, {"type": "string", "format": "date-time"})]
Bytes = Annotated[bytes, Scalar(_base64, encode_base64, {"type": "string", "format": "byte"})]
FieldMask = Annotated[str, Scalar(_mask, _same, {"type": "string", "format": "google-fieldmask"})]
_ANY = Scalar(_same, _same, {"type": "any"})
Json = Annotated[Any, _ANY]

_SCALARS: Mapping[Any, Scalar] = {
    str: Scalar(_text, _same, {"type": "string"}),
    bool: Scalar(_flag, _same, {"type": "boolean"}),
    int: Scalar(_integer(-(2**31), 2**31 - 1), _same, {"type": "integer", "format": "int32"}),
    float: Scalar(_double, _show_double, {"type": "number", "format": "double"}),
}


# ------------------------------------------------------------------------------------------------------------ types


@dataclass(frozen=True)
class Type:
    """One annotation, taken apart: a scalar, an enum, a message, or a list or map of one."""

    scalar: Scalar | None = None
    enum: tuple[str, ...] = ()
    message: type[Message] | None = None
    item: Type | None = None
    values: Type | None = None


@dataclass(frozen=True)
class Field:
    attribute: str
    wire: str
    type: Type


def _type_of(hint: Any) -> Type:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _type_of(next(a for a in arguments if a is not type(None)))
    if origin is Annotated:
        return Type(scalar=arguments[1])
    if origin is Literal:
        return Type(enum=arguments)
    if origin is list:
        return Type(item=_type_of(arguments[0]))
    if origin is dict:
        return Type(values=_type_of(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, Message):
        return Type(message=hint)
    return Type(scalar=_SCALARS[hint])


@cache
def _fields_of(message: Any) -> tuple[Field, ...]:
    hints = get_type_hints(message, include_extras=True)
    return tuple(
        Field(f.name, message.wire_names.get(f.name, camel(f.name)), _type_of(hints[f.name])) for f in fields(message)
    )


@cache
def _accepted_by(message: Any) -> Mapping[str, Field]:
    return {name: f for f in fields_of(message) for name in (f.wire, f.attribute)}


def fields_of(message: type[Message]) -> tuple[Field, ...]:
    return _fields_of(cast(Any, message))  # the type checker doubts that a class can be a key of a cache


def _accepted(message: type[Message]) -> Mapping[str, Field]:
    return _accepted_by(cast(Any, message))


# ------------------------------------------------------------------------------------------------------ read, write


def decode(message: type[M], body: Any, *, path: str = "") -> M:
    """The message of a JSON value. Raises InvalidArgument that lists every field at fault."""
    faults: Violations = []
    decoded = _decode_message(message, body, path, faults)
    if faults:
        shown = [f"{where or 'body'}: {what}" for where, what in faults[:20]]
        raise InvalidArgument("Invalid JSON payload received. " + "; ".join(shown) + ".", fields=faults[:MAX_FAULTS])
    return decoded


def _decode_message(message: type[M], body: Any, path: str, faults: Violations) -> M:
    found: dict[str, Any] = {}
    if not isinstance(body, dict):
        faults.append((path, f"it must be a JSON object, not {_kind(body)}"))
        return message()
    accepted = _accepted(message)
    for name, value in body.items():
        if len(faults) >= MAX_FAULTS:
            break
        where = _inside(path, name)
        field = accepted.get(name)
        if field is None:
            faults.append((where, f'Unknown name "{name[:100]}": Cannot find field'))
        elif value is not None:
            found[field.attribute] = _decode_value(field.type, value, where, faults)
    return message(**found)


def _inside(path: str, name: str) -> str:
    return f"{path}.{name[:_MAX_ELEMENT]}"[:_MAX_PATH] if path else name[:_MAX_ELEMENT]


def _decode_value(kind: Type, value: Any, path: str, faults: Violations) -> Any:
    if kind.message is not None:
        return _decode_message(kind.message, value, path, faults)
    if kind.item is not None:
        if not isinstance(value, list):
            faults.append((path, f"it must be a list, not {_kind(value)}"))
            return []
        items = itertools.takewhile(lambda _: len(faults) < MAX_FAULTS, enumerate(value))
        return [_decode_value(kind.item, item, f"{path}[{n}]", faults) for n, item in items]
    if kind.values is not None:
        if not isinstance(value, dict):
            faults.append((path, f"it must be a JSON object, not {_kind(value)}"))
            return {}
        entries = itertools.takewhile(lambda _: len(faults) < MAX_FAULTS, value.items())
        return {k: _decode_value(kind.values, v, _inside(path, k), faults) for k, v in entries}
    if kind.enum:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(kind.enum):
            return kind.enum[value]
        if value not in kind.enum:
            faults.append((path, f'"{str(value)[:100]}" is none of {", ".join(kind.enum)}'))
        return value
    assert kind.scalar is not None
    try:
        return kind.scalar.decode(value)
    except (ValueError, OverflowError) as error:
        faults.append((path, str(error)))
        return None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")


def encode(message: Message) -> dict[str, Any]:
    """The JSON object of a message, without what is unset, empty or false."""
    out: dict[str, Any] = {}
    for field in fields_of(type(message)):
        value = getattr(message, field.attribute)
        if value is None or value == "" or value == [] or value == {} or value == b"":
            continue
        if value is False and field.type.scalar is not _ANY:  # JSON's own false says something
            continue
        out[field.wire] = _encode_value(field.type, value)
    return out


def _encode_value(kind: Type, value: Any) -> Any:
    if kind.message is not None:
        return encode(value)
    if kind.item is not None:
        return [_encode_value(kind.item, item) for item in value]
    if kind.values is not None:
        return {k: _encode_value(kind.values, v) for k, v in value.items()}
    return kind.scalar.encode(value) if kind.scalar is not None else value


# --------------------------------------------------------------------------------------------------------- describe


def describe(message: type[Message]) -> dict[str, Any]:
    """The message as a schema of a discovery document."""
    properties = {field.wire: _describe_type(field.type) for field in fields_of(message)}
    schema: dict[str, Any] = {"id": message.schema, "type": "object", "properties": properties}
    if message.__doc__ and not message.__doc__.startswith(message.__name__ + "("):
        schema["description"] = message.__doc__.strip()
    return schema


def _describe_type(kind: Type) -> dict[str, Any]:
    if kind.message is not None:
        return {"$ref": kind.message.schema}
    if kind.item is not None:
        return {"type": "array", "items": _describe_type(kind.item)}
    if kind.values is not None:
        return {"type": "object", "additionalProperties": _describe_type(kind.values)}
    if kind.enum:
        return {"type": "string", "enum": list(kind.enum)}
    assert kind.scalar is not None
    return dict(kind.scalar.described)


def reachable(message: type[Message]) -> dict[str, type[Message]]:
    """The message and every message inside it, by schema id."""
    found: dict[str, type[Message]] = {}

    def visit(kind: Type) -> None:
        for inner in (kind.item, kind.values):
            if inner is not None:
                visit(inner)
        if kind.message is not None and kind.message.schema not in found:
            found[kind.message.schema] = kind.message
            for field in fields_of(kind.message):
                visit(field.type)

    visit(Type(message=message))
    return found
