"""Partial responses: `fields=models(name,labels/team),nextPageToken` (Google's "fields" system parameter)."""

from __future__ import annotations

from typing import Any

from mlgate.core.errors import InvalidArgument

Tree = dict[str, "Tree"]


def partial(body: Any, selector: str) -> Any:
    """The body with only the selected fields. Raises InvalidArgument for a selector that cannot be read."""
    tree, rest = _parse(selector, 0)
    if rest != len(selector) or len(selector) > 4000:
        raise InvalidArgument(f'fields: "{selector[:100]}" cannot be read.', fields=[("fields", "invalid selector")])
    return _pick(body, tree)


def _parse(text: str, at: int, depth: int = 0) -> tuple[Tree, int]:
    if depth > 50:
        raise InvalidArgument("fields: nested too deeply.", fields=[("fields", "nested too deeply")])
    tree: Tree = {}
    while True:
        start = at
        while at < len(text) and text[at] not in ",()/":
            at += 1
        child: Tree = tree.setdefault(text[start:at].strip(), {})
        if at < len(text) and text[at] == "/":
            inner, at = _parse_one(text, at + 1, depth + 1)
            child.update(inner)
        elif at < len(text) and text[at] == "(":
            inner, at = _parse(text, at + 1, depth + 1)
            child.update(inner)
            if at >= len(text) or text[at] != ")":
                return tree, -1
            at += 1
        if at < len(text) and text[at] == ",":
            at += 1
            continue
        return tree, at


def _parse_one(text: str, at: int, depth: int) -> tuple[Tree, int]:
    """One path element behind a slash: it ends at a comma, which belongs to the level above."""
    if depth > 50:
        raise InvalidArgument("fields: nested too deeply.", fields=[("fields", "nested too deeply")])
    start = at
    while at < len(text) and text[at] not in ",()/":
        at += 1
    child: Tree = {}
    tree: Tree = {text[start:at].strip(): child}
    if at < len(text) and text[at] in "/(":
        inner, at = _parse_one(text, at + 1, depth + 1) if text[at] == "/" else _group(text, at + 1, depth + 1)
        child.update(inner)
    return tree, at


def _group(text: str, at: int, depth: int) -> tuple[Tree, int]:
    tree, at = _parse(text, at, depth)
    return (tree, at + 1) if at < len(text) and text[at] == ")" else (tree, -1)


def _pick(body: Any, tree: Tree) -> Any:
    if isinstance(body, list):
        return [_pick(item, tree) for item in body]
    if not isinstance(body, dict) or not tree or ("*" in tree and not tree["*"]):
        return body
    picked = {}
    for name, value in body.items():
        inner = tree.get(name, tree.get("*"))
        if inner is not None:
            picked[name] = _pick(value, inner) if inner else value
    return picked
