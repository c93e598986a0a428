"""Writes docs/reference/ from what the program says of itself: the method table, the settings, the command line, the
roles. `python -m docs.reference` writes the pages; a test fails when they differ from what this would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from mlgate.api.method import Authenticated, Method, Public
from mlgate.api.methods import registry
from mlgate.cli.configuration import PROPERTIES, TOKEN_VARIABLE
from mlgate.cli.main import program
from mlgate.core import jobs
from mlgate.core.iam.roles import DOCUMENTED, catalogue
from mlgate.settings import Settings, variable

PLACE = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by `make docs` from the code. Do not edit. -->\n"
_APIS: Mapping[str, str] = {
    "ml": "ml v1: models, versions, predictions, jobs, studies",
    "cloudresourcemanager": "Resource Manager v1, v2, v3: the organization, folders, projects",
    "iam": "IAM v1 and v2: service accounts, keys, roles, deny policies",
    "cloudidentity": "Cloud Identity v1: groups",
    "policytroubleshooter": "Policy Troubleshooter v3 and v1: why somebody may, or may not",
    "cloudasset": "Cloud Asset v1: who has access to what",
    "logging": "Logging v2: the logs of jobs",
    "storage": "Storage v1: buckets and objects",
    "mlgate": "mlgate's own: health, sign-in, descriptions, the history of policies, access reviews",
}


def pages() -> dict[str, str]:
    """Every page by its file name."""
    made = {"command-line.md": command_line(), "settings.md": settings(), "roles.md": roles(), "README.md": index()}
    made["jobs.md"] = jobs_page()
    made |= {f"api-{api}.md": api_page(api) for api in _APIS}
    return {name: f"{_NOTE}\n{text.strip()}\n" for name, text in made.items()}


def index() -> str:
    lines = ["# Reference", "", "- [Command line](command-line.md)", "- [Settings](settings.md)", "- [Roles](roles.md)"]
    lines.append("- [States of a job](jobs.md)")
    lines += [f"- [{title}](api-{api}.md)" for api, title in _APIS.items()]
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------------------- API


def api_page(api: str) -> str:
    rows = [row for row in registry().rows if row.api == api]
    working = sum(row.handler is not None for row in rows)
    lines = [
        f"# {_APIS[api]}",
        "",
        f"{working} of {len(rows)} rows work. The others check the permission, then answer 501 UNIMPLEMENTED.",
        "A method that may name two kinds of resource, or has two addresses, has a row for each.",
    ]
    for row in rows:
        lines += ["", f"## {row.id}", "", *_method(row)]
    return "\n".join(lines)


def _method(row: Method) -> Iterator[str]:
    yield f"{row.summary}." + ("" if row.handler is not None else " **Not there yet.**")
    yield ""
    yield f"    {row.http} /{row.path}"
    yield ""
    match row.requires:
        case Public(reason=reason):
            yield f"- Open to anybody: {reason}."
        case Authenticated(reason=reason):
            yield f"- Open to whoever is signed in: {reason}."
        case permission:
            where = row.on or (f"{{{row.template.variables[0].name}}}" if row.template.variables else "")
            yield f"- Needs `{permission}` on `{where}`" + (
                ", and what the body's resources need." if row.also else "."
            )
    if row.query:
        repeated = {name: " (repeated)" for name, kind in row.query.items() if kind == list[str]}
        yield "- Query: " + ", ".join(f"`{name}`{repeated.get(name, '')}" for name in row.query) + "."
    if row.takes or row.gives:
        taken, given = (f"`{m.schema}`" if m else "nothing" for m in (row.takes, row.gives))
        yield f"- Takes {taken}, gives {given}."
    yield f"- Audited as {row.audit.value}."


# -------------------------------------------------------------------------------------------------------------- jobs


def jobs_page() -> str:
    """The states of a job, from the table that moves it."""
    lines = ["# States of a job", "", "```mermaid", jobs.diagram(), "```", "", "| from | to |", "| --- | --- |"]
    for state, following in jobs.TRANSITIONS.items():
        lines.append(f"| {state} | {', '.join(s for s in jobs.TRANSITIONS if s in following) or 'none: an end'} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- settings


def settings() -> str:
    lines = [
        "# Settings",
        "",
        "Of the server: from the command line, else from the environment, else the default.",
        "`mlgate settings` lists each with its value and where it came from.",
        "",
        "| variable | default | what it is |",
        "| --- | --- | --- |",
    ]
    for row in fields(Settings):
        choices = f" One of: {', '.join(row.metadata['choices'])}." if row.metadata["choices"] else ""
        default = f"`{row.default}`" if row.default != "" else ""
        lines.append(f"| `{variable(row.name)}` | {default} | {row.metadata['about']}{choices} |")
    lines += ["", "Of the command line:", "", "| variable | property | what it is |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{key}` | {about} |" for key, (name, about) in PROPERTIES.items()]
    lines.append(f"| `{TOKEN_VARIABLE}` | | A bearer token; comes before what `mlgate auth login` saved. |")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------------------------- roles


def roles() -> str:
    lines = ["# Roles", "", "The predefined roles and what each holds (catalogue `documented`)."]
    for role in catalogue(DOCUMENTED).values():
        held = sorted(role.holds(DOCUMENTED))
        shown = ", ".join(f"`{p}`" for p in held) if len(held) <= 60 else f"{len(held)} permissions"
        lines += ["", f"## {role.name}", "", f"{role.title}. {role.description}", "", f"Holds: {shown}."]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- command line


def command_line() -> str:
    lines = ["# Command line", "", "Every command takes `--help`."]
    for words, command in commands():
        lines += ["", f"## {words}", "", _sentence(command.help)]
        parameters = [p for p in command.params if p.name != "help"]
        if parameters:
            lines += ["", "| | |", "| --- | --- |"]
            lines += [f"| {_spelling(p)} | {_sentence(getattr(p, 'help', ''))} |" for p in parameters]
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with the words that run it."""

    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield words, command
        for name, child in (inner or {}).items():
            yield from walk(f"{words} {name}", child)

    yield from walk("mlgate", typer.main.get_command(program))


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in parameter.opts) + (" (required)" if parameter.required else "")


def _sentence(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip().replace("|", "\\|")


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    made = pages()
    for old in PLACE.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (PLACE / name).write_text(text)
    print(f"Wrote {len(made)} pages to {PLACE.name}/.")


if __name__ == "__main__":
    main()
