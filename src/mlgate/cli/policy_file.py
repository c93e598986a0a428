"""Policy files: JSON or YAML, read by one YAML parser, which also takes the trailing comma that strict JSON forbids.

A file that could mean two things is refused: a key that occurs twice, an anchor or alias (a few of which can stand for
gigabytes), more than one document, or anything that is no policy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mlgate.cli.failure import Failure

_MOST_BYTES = 1 << 20
#: What an IAM policy may hold, the first two above all.
_FIELDS = ("bindings", "etag", "version", "auditConfigs")


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.YAMLError(f"{key!r} is no name of a field")
            if keys.count(key) > 1:
                raise yaml.YAMLError(f'the key "{key}" occurs twice')
        return super().construct_mapping(node, deep)


def read_policy(file: Path, fields: Sequence[str] = _FIELDS) -> dict[str, Any]:
    """The policy in a file, or on standard input for "-", of these fields. Raises Failure that says what is wrong."""
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            raw = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Failure("INVALID_ARGUMENT", f"{file} cannot be read: {error.strerror}.") from None
    if len(raw) > _MOST_BYTES:
        raise Failure("INVALID_ARGUMENT", f"{file} is larger than {_MOST_BYTES} bytes, too large for a policy.")
    try:
        policy = yaml.load(raw, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Failure("INVALID_ARGUMENT", f"{file} is neither JSON nor YAML: {error}") from None
    return _checked(policy, file, fields)


def _checked(policy: Any, file: Path, fields: Sequence[str]) -> dict[str, Any]:
    if not isinstance(policy, dict):
        most = " and ".join(fields[:2])
        raise Failure("INVALID_ARGUMENT", f"{file} holds no policy: expected an object with {most}.")
    if unknown := set(policy) - set(fields):
        raise Failure("INVALID_ARGUMENT", f'{file}: "{min(unknown)}" is no field of a policy.')
    if not isinstance(policy.get("etag", ""), str):
        raise Failure("INVALID_ARGUMENT", f"{file}: write the etag in quotes.")
    return policy
