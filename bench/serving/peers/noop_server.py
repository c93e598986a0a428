"""The limit of HTTP: a handler that reads the body and answers a constant, on the server that mlgate uses."""

import sys
from typing import Any

import uvicorn

ANSWER = b'{"predictions":[0]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, server_header=False,
        proxy_headers=False, lifespan="off", ws="none", backlog=2048,
    )  # fmt: skip
