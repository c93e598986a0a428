"""Docs cannot lag: the reference is what the code says, and the guides name only what there is."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from docs import reference
from mlgate.api.methods import registry
from mlgate.settings import Settings, variable

ROOT = Path(__file__).parents[2]
WRITTEN = ("README.md", "docs/guide.md")


def _reference() -> str:
    return "\n".join(path.read_text() for path in sorted(reference.PLACE.glob("*.md")))


def test_the_reference_is_up_to_date() -> None:
    there = {path.name: path.read_text() for path in reference.PLACE.glob("*.md")}
    stale = sorted(name for name, text in reference.pages().items() if there.get(name) != text)
    assert not stale, f"run `make docs` and commit the result; stale: {', '.join(stale)}"
    assert sorted(there) == sorted(reference.pages())


def test_every_method_is_documented() -> None:
    text = _reference()
    assert not [row.id for row in registry().rows if f"## {row.id}\n" not in text]


def test_every_setting_is_documented() -> None:
    text = _reference()
    assert not [row.name for row in fields(Settings) if f"`{variable(row.name)}`" not in text]


def test_every_command_is_documented_with_its_help() -> None:
    text = _reference()
    for words, command in reference.commands():
        assert f"## {words}\n" in text
        assert command.help, f"{words} has no help"


def test_every_method_has_a_summary() -> None:
    assert not [row.id for row in registry().rows if not row.summary]


@pytest.mark.parametrize("name", WRITTEN)
def test_links_lead_to_files(name: str) -> None:
    file = ROOT / name
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text())
    assert not [t for t in targets if "://" not in t and not (file.parent / t).exists()]


@pytest.mark.parametrize("name", WRITTEN)
def test_commands_in_the_text_exist_with_their_options(name: str) -> None:
    known = dict(reference.commands())
    wrong = []
    for line in _command_lines((ROOT / name).read_text()):
        words = shlex.split(line, comments=True)
        words = words[: words.index("--")] if "--" in words else words  # behind it is somebody else's command
        found = next((" ".join(words[:n]) for n in range(len(words), 0, -1) if " ".join(words[:n]) in known), None)
        if found is None:
            wrong.append(line)
            continue
        options = {option for parameter in known[found].params for option in parameter.opts}
        wrong += [
            f"{line}: {word}" for word in words if word.startswith("--") and word.partition("=")[0] not in options
        ]
    assert not wrong


def _command_lines(text: str) -> list[str]:
    """Lines of code blocks that run mlgate, continued ones joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:^|\s|\$\(|\| )(mlgate [a-z](?:'[^']*'|[^'|)&;])*)", line) for line in lines]
    return [match.group(1) for match in found if match]
