"""Batch requests of a job, taken apart and written anew.

A batch carries whole requests, each with a path and credentials of its own. They must pass the same list, without
credentials, and the server must see the parts that were seen here: so what is sent on is composed from them, between
boundaries that the job cannot know.
"""

from __future__ import annotations

import re
import secrets

from mlgate.adapters.runners import routes
from mlgate.adapters.runners.wire import Malformed

MAX_BYTES, MAX_CALLS = 4 << 20, 1000
_BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,200})"|([^\s;"']{1,200}))""", re.IGNORECASE)
_LINE = re.compile(r"([A-Z]{1,10}) (?:https?://[A-Za-z0-9.:_-]+)?(/[^\s?]*)(\?\S*)?(?: HTTP/1\.[01])?")
_KEPT = re.compile(r"(content-type|accept|if-match|if-none-match|x-goog-[a-z-]+):[ \t]*([ -~]*)", re.IGNORECASE)
_ID = re.compile(r"content-id:[ \t]*([!-~](?:[ -~]{0,198}[!-~])?)[ \t]*", re.IGNORECASE)


def rebuilt(body: bytes, kind: str) -> tuple[bytes, str]:
    """The batch to send on and its content type. Raises Malformed for what is no batch or holds what a job may not."""
    found = _BOUNDARY.search(kind)
    if found is None or not kind.lower().startswith("multipart/mixed"):
        raise Malformed("A batch is multipart/mixed with a boundary.")
    mark = secrets.token_hex(16)
    plain = b"\n" + body.replace(b"\r\n", b"\n")
    sections = plain.split(b"\n--" + (found[1] or found[2]).encode("latin-1"), MAX_CALLS + 2)
    if len(sections) > MAX_CALLS + 2:
        raise Malformed(f"A batch holds at most {MAX_CALLS} calls.")
    out = []
    for section in sections[1:]:
        if section.startswith(b"--"):
            break
        head, _, inner = section.partition(b"\n\n")
        out.append(f"--{mark}\r\nContent-Type: application/http\r\n".encode() + _id(head) + b"\r\n" + _call(inner))
    out.append(f"--{mark}--\r\n".encode())
    return b"\r\n".join(out), f"multipart/mixed; boundary={mark}"


def _id(head: bytes) -> bytes:
    ids = [found[1] for line in head.decode("latin-1").split("\n") if (found := _ID.fullmatch(line))]
    return f"Content-ID: {ids[0]}\r\n".encode("latin-1") if ids else b""


def _call(inner: bytes) -> bytes:
    head, _, body = inner.lstrip(b"\n").partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    line = _LINE.fullmatch(first.strip())
    if line is None:
        raise Malformed("A part of the batch does not begin with a request line.")
    method, path, query = line[1], line[2], line[3] or ""
    if not routes.is_allowed(method, path):
        raise Malformed(f'A job may not call "{method} {path[:200]}" through its gateway.')
    clean = routes.without_credentials(query.removeprefix("?"))
    kept = [f"{found[1]}: {found[2]}\r\n" for one in lines if (found := _KEPT.fullmatch(one.strip()))]
    target = path + ("?" + clean if clean else "")
    return f"{method} {target} HTTP/1.1\r\n{''.join(kept)}\r\n".encode("latin-1") + body.rstrip(b"\n")
