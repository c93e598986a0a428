"""The history of a policy: who changed it, when and how; what two revisions differ in; going back to one."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from mlgate.cli.policies import restored, summary
from mlgate.console import members, parts
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]


class History:
    def __init__(self, visit: Visit, name: str) -> None:
        self._visit, self._name = visit, name

    async def build(self) -> None:
        self._box = ui.element("div").classes("card card-table")
        self._diff = ui.element("div").classes("form")
        await self._load()

    async def _load(self) -> None:
        found = await self._visit.api.revisions(self._name)
        self._current = found[0]["revisionId"] if found else ""
        self._box.clear()
        self._diff.clear()
        with self._box:
            if not found:
                parts.empty("No changes yet", "Whoever is given a role, or loses one, is listed here.", icon="history")
            for revision in found:
                self._draw(revision)

    def _draw(self, revision: Json) -> None:
        number = revision["revisionId"]
        with ui.element("div").classes("member"):
            ui.label(f"#{number}").classes("chip")
            with ui.element("div").classes("member-text"):
                ui.label(summary(revision) or "the first revision that is kept").classes("member-name")
                parts.hint(f"{parts.when(revision.get('createTime'))} UTC by {revision.get('principal', 'the server')}")
            if number != self._current:
                look = parts.button("Compare", self._visit.act(lambda: self._compare(number)))
                look.props["aria-label"] = f"Compare revision {number} with now"
                back = parts.button("Restore", self._visit.act(lambda: self._restore(number)))
                back.props["aria-label"] = f"Restore revision {number}"
            else:
                ui.label("now").classes("chip chip-brand")

    async def _compare(self, number: str) -> None:
        """What a return to the revision would give and take."""
        old, now = await self._visit.api.together(
            [self._visit.api.revision(self._name, number), self._visit.api.policy(self._name)]
        )
        before, after = _lines(old["policy"]), _lines(now)
        self._diff.clear()
        with self._diff, parts.card(f"Revision {number} beside now"):
            if before == after:
                parts.hint("They are the same.")
            for line in sorted(before | after):
                sign = " " if line in before and line in after else "+" if line in before else "-"
                tone = {"+": "chip chip-good", "-": "chip chip-bad"}.get(sign, "")
                with ui.element("div").classes("member-from"):
                    ui.label({"+": "would come back", "-": "would go", " ": "stays"}[sign]).classes(tone or "chip")
                    ui.label(line)

    async def _restore(self, number: str) -> None:
        sure = await parts.asked(
            f"Restore revision {number}?", f"The policy of {id_of(self._name)} becomes what it was then. This is a new "
            "revision itself, so it can be taken back.", "Restore",
        )  # fmt: skip
        if not sure:
            return
        old, now = await self._visit.api.together(
            [self._visit.api.revision(self._name, number), self._visit.api.policy(self._name)]
        )
        before = self._current
        await self._visit.api.set_policy(self._name, restored(old["policy"], now))
        await self._load()
        self._visit.done(f"Revision {number} holds again.", lambda: self._restore(before))


def _lines(policy: Json) -> set[str]:
    return {
        f"{members.shown(member)} as {binding['role']}"
        + (f" while {binding['condition'].get('title') or binding['condition']['expression']}"
           if binding.get("condition") else "")
        for binding in policy.get("bindings", ()) for member in binding.get("members", ())
    }  # fmt: skip
