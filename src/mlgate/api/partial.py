"""Partial responses: `fields=models(name,labels/team),nextPageToken` (Google's "fields" system parameter).

    selector = path ("," path)*
    path     = name ("/" path | "(" selector ")")?

`parse` reads a selector before anything is done, so that one that cannot be read costs nothing; `partial` applies it.
"""

from __future__ import annotations

import re
from typing import Any

from mlgate.core.errors import InvalidArgument

Tree = dict[str, "Tree"]

_MAX_LENGTH, _MAX_DEPTH = 4000, 50
_TOKEN = re.compile(r"[,()/]|[^,()/]+")


def parse(selector: str) -> Tree:
    """The selected fields as a tree. Raises InvalidArgument for a selector that cannot be read."""
    if len(selector) > _MAX_LENGTH:
        raise _fault(selector)
    reader = _Reader(_TOKEN.findall(selector), selector)
    tree = reader.selector(0)
    if reader.tokens:
        raise _fault(selector)
    return tree


def partial(body: Any, tree: Tree) -> Any:
    """The body with only the selected fields."""
    if isinstance(body, list):
        return [partial(item, tree) for item in body]
    if not isinstance(body, dict) or not tree or ("*" in tree and not tree["*"]):
        return body
    picked = {}
    for name, value in body.items():
        inner = tree.get(name, tree.get("*"))
        if inner is not None:
            picked[name] = partial(value, inner) if inner else value
    return picked


class _Reader:
    """INVARIANT: every call takes at least one token or raises, so reading ends."""

    def __init__(self, tokens: list[str], selector: str) -> None:
        self.tokens = tokens[::-1]
        self.text = selector

    def selector(self, depth: int) -> Tree:
        tree: Tree = {}
        while True:
            self.path(tree, depth)
            if not (self.tokens and self.tokens[-1] == ","):
                return tree
            self.tokens.pop()

    def path(self, tree: Tree, depth: int) -> None:
        name = self.tokens.pop().strip() if self.tokens else ""
        if depth > _MAX_DEPTH or not name or name in ",()/":
            raise _fault(self.text)
        child = tree.setdefault(name, {})
        follows = self.tokens[-1] if self.tokens else ""
        if follows == "/":
            self.tokens.pop()
            self.path(child, depth + 1)
        elif follows == "(":
            self.tokens.pop()
            child.update(self.selector(depth + 1))
            if not self.tokens or self.tokens.pop() != ")":
                raise _fault(self.text)


def _fault(selector: str) -> InvalidArgument:
    message = f'fields: "{selector[:100]}" cannot be read; write, for example, models(name,labels),nextPageToken.'
    return InvalidArgument(message, fields=[("fields", message)])
