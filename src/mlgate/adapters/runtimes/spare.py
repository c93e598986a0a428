"""A spare model process: confined, its framework imported, waiting to be told which model it is for.

Importing a framework takes seconds and loading a small model milliseconds; so a version that has no process gets one
at once. A spare serves one version and never another. Its sandbox was closed before anybody knew which model it would
load, so the files come as open descriptors, with the assignment, and are copied to its scratch folder; what a framework
reads whole is then removed again.
"""

from __future__ import annotations

import array
import importlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from typing import Any

#: What each framework's process imports before it knows its model.
IMPORTS = {
    "SCIKIT_LEARN": (
        "numpy",
        "joblib",
        "sklearn",
        "sklearn.pipeline",
        "sklearn.ensemble",
        "sklearn.linear_model",
        "onnxruntime",
    ),
    "XGBOOST": ("numpy", "joblib", "xgboost", "onnxruntime"),
}
LONGEST = 1 << 16
DESCRIPTORS = 250
#: Copies of files up to this size are kept: a description beside the model may be read later.
KEPT = 1 << 16


def wait(start: Mapping[str, Any], announce: Callable[[int, Mapping[str, Any]], None]) -> dict[str, Any]:
    """Import the framework, say so, and return the assignment: framework, directory, options, seconds and the
    listening socket's descriptor. Ends the process when the worker goes away."""
    for name in IMPORTS.get(start["framework"], ()):
        try:
            importlib.import_module(name)
        except ImportError:  # an environment without it: loading will say so
            break
    announce(start["status"], {"spare": True})
    sock = socket.socket(fileno=start["assign"])
    message, descriptors = _receive(sock)
    sock.close()
    if not message:
        os._exit(0)
    assigned: dict[str, Any] = json.loads(message)
    listen, *files = descriptors
    home = os.environ["HOME"]
    for path, descriptor in zip(assigned.pop("files"), files):  # noqa: B905 - Python 3.8 has no strict
        place = os.path.join(home, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(descriptor, "rb") as source, open(place, "wb") as target:
            shutil.copyfileobj(source, target)
    if assigned["options"].get("copy"):
        assigned["options"]["copy"] = os.path.join(home, "copy")
    return {**assigned, "directory": os.path.join(home, "model"), "listen": listen}


def tidy(directory: str) -> None:
    """Remove the copies of what was read whole: they take memory where the scratch folder is in memory."""
    for folder, _, names in os.walk(directory):
        for name in names:
            place = os.path.join(folder, name)
            if os.path.getsize(place) > KEPT:
                os.remove(place)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One message with its descriptors; nothing when the peer is gone."""
    descriptors = array.array("i")
    message, ancillary, _, _ = sock.recvmsg(LONGEST, socket.CMSG_SPACE(DESCRIPTORS * descriptors.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)
