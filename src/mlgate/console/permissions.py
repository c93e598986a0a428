"""The Permissions tab: who has which role on the selected resources, giving roles and taking them away.

What is shown was read with its etag, and is written back with it: whoever was overtaken is told, sees what there is now
and still has what they typed. A change is shown at once, confirmed by the policy that the server answers, and taken
back when the server refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from mlgate.cli.bindings import with_member, without_member
from mlgate.cli.failure import Failure
from mlgate.console import members, parts
from mlgate.console.members import Condition, Grant, Policy
from mlgate.console.visit import Visit, explained
from mlgate.core.names import id_of

#: Which role to choose, in the words of somebody who has to.
HELP = {
    "roles/ml.modelUser": "For whoever uses the model: people and programs that send it instances. They can read the "
    "model and its versions and predict, and change nothing.",
    "roles/ml.modelOwner": "For whoever looks after the model: they can deploy and delete versions, set the default, "
    "delete the model, and share it with others as you do here.",
}
_FIRST = ("roles/ml.modelUser", "roles/ml.modelOwner")
Change = Callable[[Policy], Policy]
#: One grant on one resource.
Triple = tuple[str, str, str, Condition | None]


class Permissions:
    """`kind` is what the resources are called: model, bucket, ...; `permissions` are the two of its policy."""

    def __init__(self, visit: Visit, kind: str = "model", api: str = "ml.models") -> None:
        self._visit, self._kind = visit, kind
        self._read, self._write = f"{api}.getIamPolicy", f"{api}.setIamPolicy"
        self._selected: list[str] = []
        self._policies: dict[str, Policy] = {}
        self._above: dict[str, Policy] = {}
        self._notes: list[str] = []
        self._titles: dict[str, str] = {}
        self._about: dict[str, str] = {}
        self._pending: list[Grant] = []
        self._shut: set[str] = set()
        self._form()
        self._list = ui.element("div").classes("roles form").props('aria-live="off"')
        self._list.props["aria-label"] = "Members by role"
        self._list.props["role"] = "region"

    # ---------------------------------------------------------------------------------------------------- the form

    def _form(self) -> None:
        with ui.element("div").classes("form") as self._box:
            self._who = ui.input("Add members", placeholder="bob@example.com, group:team@example.com")
            self._who.props("outlined dense stack-label")
            self._who.on("keydown.enter", self._visit.act(self._add))
            self._role = ui.select({}, label="Select a role", on_change=self._explain).props("outlined dense")
            self._help = ui.label().classes("help")
            self._help.set_visibility(False)
            with ui.element("div").classes("row-in"):
                self._day = ui.input("Ends after (optional)", placeholder="2030-01-31").props(
                    "outlined dense stack-label"
                )
                with self._day.add_slot("append"), ui.button(icon="event").props("flat round dense") as pick:
                    pick.props["aria-label"] = "Choose a day"
                    with ui.menu(), ui.date().bind_value(self._day):
                        pass
                self._button = parts.button("Add", self._visit.act(self._add), kind="unelevated")
        self._why = ui.label().classes("help").props('role="note"')
        self._why.set_visibility(False)

    def _explain(self) -> None:
        text = HELP.get(self._role.value or "") or self._about.get(self._role.value or "", "")
        self._help.set_text(text)
        self._help.set_visibility(bool(text))

    # ------------------------------------------------------------------------------------------------------ reading

    async def show(self, names: Sequence[str]) -> None:
        """Show who has access to these resources."""
        self._selected, self._pending = list(names), []
        self._box.set_visibility(bool(names))
        self._why.set_visibility(False)
        self._list.clear()
        if not names:
            with self._list:
                parts.empty(f"No {self._kind} is selected", f"Tick the {self._kind}s whose members you want to see.",
                            icon="checklist")  # fmt: skip
            return
        with self._list:
            ui.element("div").classes("waiting").props('aria-busy="true"')
        try:
            await self._load()
        except Failure as failure:
            if failure.http_status == 401:
                raise
            self._box.set_visibility(False)
            self._list.clear()
            with self._list:
                parts.denied(failure)
            return
        self._draw()

    async def _load(self) -> None:
        """Read the policies of the selection, of all above it, and what the person may do."""
        api, names = self._visit.api, self._selected
        policies, roles, rights, _ = await api.together(
            [
                api.together(api.policy(name) for name in names),
                api.grantable_roles(names[0]),
                api.together(api.may(name, (self._write,)) for name in names),
                self._load_above(),
            ]
        )
        if names != self._selected:
            return
        self._policies = dict(zip(names, policies, strict=True))
        self._titles |= {role["name"]: role.get("title", role["name"]) for role in roles}
        self._about = {role["name"]: role.get("description", "") for role in roles}
        order = sorted(self._about, key=lambda role: (role not in _FIRST, _FIRST.index(role) if role in _FIRST else 0))
        self._role.set_options({role: self._titles[role] for role in order}, value=self._role.value or order[0])
        self._explain()
        self._may([name for name, right in zip(names, rights, strict=True) if not right])
        await self._load_titles()

    async def _load_above(self) -> None:
        """The policies of the project and of all that it is in; what may not be read is said."""
        api, self._above, self._notes = self._visit.api, {}, []
        project = f"projects/{self._visit.project}"
        try:
            places = await api.ancestry(self._visit.project)
        except Failure:
            places = [project]

        async def one(name: str) -> None:
            try:
                self._above[name] = await api.policy(name)
            except Failure as failure:
                self._notes.append(f"Roles from {members.place(name)} are not shown. {explained(failure)}")

        await api.together(one(name) for name in places)

    async def _load_titles(self) -> None:
        """The titles of roles that cannot be given here, but were above."""
        found = members.grants({**self._policies, **self._above}, self._selected)
        unknown = sorted({grant.role for grant in found} - self._titles.keys())

        async def one(role: str) -> None:
            try:
                self._titles[role] = (await self._visit.api.role(role)).get("title", role)
            except Failure:
                self._titles[role] = role

        await self._visit.api.together(one(role) for role in unknown)

    def _may(self, without: Sequence[str]) -> None:
        self._box.set_visibility(not without)
        self._why.set_visibility(bool(without))
        if without:
            names = ", ".join(id_of(name) for name in without[:3]) + (" and more" if len(without) > 3 else "")
            self._why.set_text(
                f"You may see who has access, and not change it: your roles on {names} lack the permission "
                f"'{self._write}'. ML Engine Model Owner holds it."
                if self._kind == "model"
                else f"You may not change this: your roles on {names} lack the permission '{self._write}'."
            )
        self._can_write = not without

    # ------------------------------------------------------------------------------------------------------ drawing

    def _draw(self) -> None:
        if self._list.is_deleted:
            return
        found = members.grants({**self._policies, **self._above}, self._selected)
        waiting = {grant.key: grant for grant in self._pending}
        found = [waiting.pop(grant.key, grant) for grant in found] + list(waiting.values())
        by_role: dict[str, list[Grant]] = {}
        for grant in found:
            by_role.setdefault(grant.role, []).append(grant)
        self._list.clear()
        with self._list:
            for note in sorted(self._notes):
                parts.hint(note)
            for role in sorted(by_role, key=lambda role: (role not in _FIRST, not any(
                grant.selected for grant in by_role[role]), self._titles.get(role, role))):  # fmt: skip
                self._draw_role(role, by_role[role])

    def _draw_role(self, role: str, found: Sequence[Grant]) -> None:
        title = self._titles.get(role, role)
        direct = any(grant.selected or grant.pending for grant in found)
        with ui.expansion(f"{title} ({len(found)})", value=role not in self._shut and direct).classes("role") as box:
            box.props["header-aria-label"] = f"{title}, {len(found)} members"
            box.on_value_change(lambda e: self._shut.discard(role) if e.value else self._shut.add(role))
            for grant in found:
                self._draw_member(grant, title)

    def _draw_member(self, grant: Grant, title: str) -> None:
        with ui.element("div").classes("member" + (" member-new" if grant.pending else "")) as row:
            row.props["data-member"] = grant.member
            ui.icon(grant.icon).props('aria-hidden="true"')
            with ui.element("div").classes("member-text"):
                ui.label(members.shown(grant.member)).classes("member-name")
                with ui.element("div").classes("member-from"):
                    for text in self._sources(grant):
                        ui.label(text).classes("chip")
                    self._draw_condition(grant)
            if grant.member.startswith("group:"):
                opened = parts.icon_button(
                    "expand_more", f"Show who is in {members.shown(grant.member)}",
                    self._visit.act(lambda: self._unfold(grant, inside)),
                )  # fmt: skip
                opened.props["aria-expanded"] = "false"
            if grant.selected and self._can_write:
                label = f"Remove {members.shown(grant.member)} from {title}"
                parts.icon_button("delete", label, self._visit.act(lambda: self._remove(grant)))
        inside = ui.element("div").classes("inside")
        inside.set_visibility(False)

    def _sources(self, grant: Grant) -> list[str]:
        """Where a grant comes from."""
        several, count = len(self._selected), len(grant.selected)
        here = f"This {self._kind}" if several == 1 else f"{count} of {several} {self._kind}s"
        saving = ["Saving…"] if grant.pending else []
        return ([here] if count else []) + [members.place(name) for name in grant.above] + saving

    @staticmethod
    def _draw_condition(grant: Grant) -> None:
        if grant.condition is None:
            return
        if grant.ends is not None:
            chip = ui.label(parts.days_left(grant.ends)).classes("chip chip-busy")
        else:
            chip = ui.label(grant.condition.get("title", "condition")).classes("chip chip-busy")
        chip.props["title"] = grant.condition["expression"]

    async def _unfold(self, grant: Grant, inside: ui.element) -> None:
        """Show or hide everybody in a group."""
        if inside.visible:
            inside.set_visibility(False)
            return
        inside.clear()
        inside.set_visibility(True)
        try:
            found = await self._visit.api.everybody_in(members.shown(grant.member))
        except Failure as failure:
            with inside:
                parts.hint(explained(failure))
            return
        with inside:
            for membership in found:
                keys = membership.get("preferredMemberKey") or [{"id": membership.get("member", "")}]
                for key in keys:
                    ui.label(key["id"])
            if not found:
                parts.hint("Nobody is in this group.")

    # ------------------------------------------------------------------------------------------------------ changing

    async def _add(self) -> None:
        """Give the role to everybody typed, on every selected resource."""
        whom, role = members.typed(self._who.value or ""), self._role.value
        condition = members.ending(self._day.value or "")
        names = list(self._selected)
        held = {
            (name, grant.key)
            for grant in members.grants(self._policies, names) for name in grant.selected
        }  # fmt: skip
        given: list[Triple] = [
            (name, role, member, condition)
            for name in names for member in whom
            if (name, members.key_of(role, member, condition)) not in held
        ]  # fmt: skip
        self._pending = [Grant(role, member, condition, names, pending=True) for member in whom]
        self._draw()
        title = self._titles.get(role, role)
        text = f"{_joined(map(members.shown, whom))} added to {title} on {self._told(names)}."

        def add(policy: Policy) -> Policy:
            for member in whom:
                policy = with_member(policy, role, member, condition)
            return policy

        if await self._change(dict.fromkeys(names, add), "added"):
            self._who.set_value("")
            self._day.set_value("")
            self._visit.done(text, lambda: self._reverse(given, without_member))

    async def _remove(self, grant: Grant) -> None:
        """Take the role from the member, on every selected resource that gives it."""
        names, before = list(grant.selected), dict(self._policies)
        taken: list[Triple] = [(name, grant.role, grant.member, grant.condition) for name in names]

        def remove(policy: Policy) -> Policy:
            return without_member(policy, grant.role, grant.member, grant.condition)

        changes = dict.fromkeys(names, remove)
        for name in names:  # shown at once; the server's answer takes its place
            self._policies[name] = remove(self._policies[name])
        self._draw()
        title = self._titles.get(grant.role, grant.role)
        if await self._change(changes, "removed", before):
            text = f"{members.shown(grant.member)} removed from {title} on {self._told(names)}."
            self._visit.done(text, lambda: self._reverse(taken, with_member))

    async def _change(
        self, changes: Mapping[str, Change], deed: str, shown: Mapping[str, Policy] | None = None
    ) -> bool:
        """Write the changes over the policies that were shown; tell what the server refused. True when it took all."""
        base = shown or self._policies
        failures: dict[str, Failure] = {}

        async def one(name: str, change: Change) -> None:
            try:
                self._policies[name] = await self._visit.api.set_policy(name, change(base[name]))
            except Failure as failure:
                failures[name] = failure
                self._policies[name] = base[name]

        await self._visit.api.together(one(name, change) for name, change in changes.items())
        self._pending = []
        if any(failure.status == "ABORTED" for failure in failures.values()):
            await self._visit.api.together(self._reread(name) for name in failures)
        self._draw()
        if ended := next((failure for failure in failures.values() if failure.http_status == 401), None):
            raise ended
        if failures:
            self._visit.tell(self._refused(failures, len(changes), deed), kind="error")
        return not failures

    async def _reread(self, name: str) -> None:
        try:
            self._policies[name] = await self._visit.api.policy(name)
        except Failure as failure:
            self._notes.append(explained(failure))

    def _refused(self, failures: Mapping[str, Failure], count: int, deed: str) -> str:
        done = f"{deed.capitalize()} on {count - len(failures)} of {count} {self._kind}s. " if count > 1 else ""
        name, failure = next(iter(failures.items()))
        if failure.status == "ABORTED":
            return (
                f"{done}Somebody else changed who has access to {id_of(name)} in the meantime, so nothing was {deed} "
                "there. The list shows it as it is now, and what you typed is still there: look, and try again."
            )
        return f"{done}{id_of(name)}: {explained(failure)}"

    async def _reverse(self, triples: Sequence[Triple], how: Callable[..., Policy]) -> None:
        """Undo: the same grants the other way round, on the policies as they are now."""

        def on(name: str) -> Change:
            def change(policy: Policy) -> Policy:
                for there, role, member, condition in triples:
                    if there == name:
                        policy = how(policy, role, member, condition)
                return policy

            return change

        names = list(dict.fromkeys(name for name, *_ in triples))
        await self._visit.api.together(self._reread(name) for name in names)
        if await self._change({name: on(name) for name in names}, "undone"):
            self._visit.done("Undone.")

    def _told(self, names: Sequence[str]) -> str:
        return id_of(names[0]) if len(names) == 1 else f"{len(names)} {self._kind}s"


def _joined(words: Any) -> str:
    listed = list(words)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


class Panel:
    """The info panel beside a list: a tab for each thing to know of the selection."""

    def __init__(self, visit: Visit, on_close: Callable[[], Awaitable[None] | None]) -> None:
        with ui.element("aside").classes("card panel") as self.box:
            self.box.props["aria-label"] = "Info panel"
            with ui.element("div").classes("panel-head"):
                self._title = ui.label().classes("title-2")
                parts.icon_button("close", "Hide Info Panel", on_close)
            with ui.tabs().props("dense no-caps align=left inline-label") as tabs:
                permissions = ui.tab("Permissions", icon="")
            ui.separator()
            with ui.tab_panels(tabs, value=permissions, animated=False), ui.tab_panel(permissions):
                self._permissions = Permissions(visit)

    async def show(self, names: Sequence[str]) -> None:
        self._title.set_text(id_of(names[0]) if len(names) == 1 else f"{len(names)} models selected")
        await self._permissions.show(names)
