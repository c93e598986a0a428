"""The JSON body of a call, for handlers that read it themselves since they wait for something outside a transaction."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mlgate.api.call import Call
from mlgate.api.messages.message import Message, decode
from mlgate.core.errors import InvalidArgument

M = TypeVar("M", bound=Message)


def parse(data: bytes) -> Any:
    """The JSON value of a body; nothing reads as an empty object (api.md rule 4). Raises InvalidArgument."""
    if not data.strip():
        return {}
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise InvalidArgument("The body is nested too deeply.") from None


async def read_body(call: Call, message: type[M]) -> M:
    """The body as a message. The caller is authorized again first: reading may have taken long."""
    data = await call.request.body.read(min(call.method.max_body, call.settings.max_request))
    call.authorize()
    return decode(message, parse(data))
