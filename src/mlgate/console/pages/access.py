"""Access: who may call something, what somebody may reach, why or why not; roles, groups, service accounts and keys."""

from __future__ import annotations

import base64
import time
from typing import Any

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.cli.troubleshoot import told
from mlgate.console import members, parts
from mlgate.console.tabs.bar import tabs
from mlgate.console.visit import Visit
from mlgate.core.errors import InvalidArgument
from mlgate.core.iam.permissions import ALL
from mlgate.core.names import ORGANIZATION, bucket_name, from_full_name, full_name, id_of

Json = dict[str, Any]

_TABS = {"who": "Who can", "what": "What can", "why": "Why not", "roles": "Roles", "groups": "Groups",
         "accounts": "Service accounts"}  # fmt: skip
_FOUND = {"principal": "Who", "on": "On", "role": "Role", "from": "Given on", "via": "Through", "ends": "Ends",
          "state": "State"}  # fmt: skip
_PREDICT = "ml.models.predict"


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    ui.page_title(f"Access - {project} - mlgate")
    with parts.heading("Access"):
        pass
    view = AccessView(visit, project, query)
    await tabs(visit, ("projects", project, "access"), _TABS, query.get("tab", ""), {
        "who": view.who, "what": view.what, "why": view.why, "roles": view.roles, "groups": view.groups,
        "accounts": view.accounts,
    })  # fmt: skip


class AccessView:
    def __init__(self, visit: Visit, project: str, query: dict[str, str]) -> None:
        self._visit, self._project, self._query = visit, project, query

    # ------------------------------------------------------------------------------------------------------ reviews

    async def who(self) -> None:
        """Who may do something to a resource."""
        with parts.card("Who can do this?"):
            with ui.element("div").classes("row-in"):
                resource = self._resource()
                permission = self._permission()
                parts.button("Ask", self._visit.act(lambda: ask()), icon="search", kind="unelevated")
            answer = ui.element("div").classes("form")

        async def ask() -> None:
            name = self._named(resource.value or "")
            self._remember("who", resource=resource.value, permission=permission.value)
            await self._review({"resource": name, "permissions": permission.value or _PREDICT}, answer)

        if self._query.get("resource"):
            await ask()

    async def what(self) -> None:
        """What somebody may reach."""
        with parts.card("What can this person or program reach?"):
            with ui.element("div").classes("row-in"):
                principal = ui.input("Whom", value=self._query.get("principal", ""), placeholder="bob@example.com")
                principal.props("outlined dense stack-label")
                permission = self._permission("Only by this permission", "")
                parts.button("Ask", self._visit.act(lambda: ask()), icon="search", kind="unelevated")
            answer = ui.element("div").classes("form")

        async def ask() -> None:
            whom = members.typed(principal.value or "")[0]
            self._remember("what", principal=principal.value, permission=permission.value)
            query = {"principal": whom, "permissions": permission.value or "", "expandResources": True}
            await self._review(query, answer)

        if self._query.get("principal") and self._query.get("tab") == "what":
            await ask()

    async def _review(self, query: dict[str, Any], answer: ui.element) -> None:
        answer.clear()
        scope = f"projects/{self._project}"
        try:
            found = await self._visit.api.access(scope, {**query, "includeIneffective": True, "pageSize": 500})
        except Failure as failure:
            if failure.http_status == 401:
                raise
            with answer:
                parts.denied(failure)
            return
        rows = [_row(i, entry) for i, entry in enumerate(found.get("access", ()))]
        with answer:
            if not rows:
                title = "Nothing in this project" if "principal" in query else "Nobody"
                parts.empty(title, "No role gives this access.", icon="no_accounts")
                return
            parts.table(_FOUND, rows, key="n", label="Access", slots={"state": parts.STATE_CELL})
            if found.get("closedGroups"):
                parts.hint(f"Not opened, as you may not list their members: {', '.join(found['closedGroups'])}.")
            if found.get("nextPageToken"):
                parts.hint("These are the first 500; mlgate iam who-can and what-can list all.")

    async def why(self) -> None:
        """Why somebody may, or may not."""
        with parts.card("Why may they, why may they not?"):
            with ui.element("div").classes("row-in"):
                whom = ui.input("Whom", value=self._query.get("principal", ""), placeholder="bob@example.com")
                whom.props("outlined dense stack-label")
                permission = self._permission()
                resource = self._resource()
                parts.button("Explain", self._visit.act(lambda: ask()), icon="help_outline", kind="unelevated")
            answer = ui.element("div").classes("form")

        async def ask() -> None:
            email = members.typed(whom.value or "")[0].partition(":")[2]
            name = full_name(self._named(resource.value or ""))
            self._remember("why", principal=whom.value, permission=permission.value, resource=resource.value)
            said = await self._visit.api.troubleshoot(name, permission.value or _PREDICT, email)
            first, *rest = told(said).splitlines()
            answer.clear()
            with answer:
                ui.label(first).classes("title-3").props('role="status"')
                if rest:
                    parts.code("\n".join(rest).strip("\n"), "The explanation, policy by policy")

        if self._query.get("principal") and self._query.get("tab") == "why":
            await ask()

    def _resource(self) -> ui.input:
        made = ui.input(
            "Resource", value=self._query.get("resource", ""), placeholder="a model's name, gs://BUCKET, ..."
        )
        made.props("outlined dense stack-label")
        return made

    def _permission(self, label: str = "Permission", value: str = _PREDICT) -> ui.select:
        chosen = self._query.get("permission") or value
        made = ui.select(sorted({*ALL, *filter(None, [chosen])}), value=chosen or None, label=label, with_input=True)
        made.props("outlined dense clearable")
        return made

    def _named(self, text: str) -> str:
        """The resource that a person typed: a model's id, a name, a full name, a bucket. Raises InvalidArgument."""
        text = text.strip()
        if not text:
            raise InvalidArgument("Say which resource: a model's name, projects/PROJECT, gs://BUCKET, ...")
        if text.startswith("gs://"):
            return bucket_name(text[5:].strip("/"))
        if text.startswith("//"):
            return from_full_name(text)
        return text if "/" in text else f"projects/{self._project}/models/{text}"

    def _remember(self, tab: str, **query: str | None) -> None:
        self._query = {"tab": tab, **{name: value for name, value in query.items() if value}}
        self._visit.replace_address(parts.path("projects", self._project, "access", **self._query))

    # -------------------------------------------------------------------------------------------------------- roles

    async def roles(self) -> None:
        parent = f"projects/{self._project}"
        with ui.row().classes("actions"):
            parts.button("New custom role", self._new_role, icon="add", kind="outline")
        rows: list[parts.Row] = []
        for where, load in (("this project", self._visit.api.custom_roles(parent)),
                            ("predefined", self._visit.api.predefined_roles())):  # fmt: skip
            try:
                rows += [
                    {"name": role["name"], "title": role.get("title", ""), "where": where,
                     "about": role.get("description", ""), "deed": where != "predefined"}
                    for role in await load
                ]  # fmt: skip
            except Failure as failure:
                if failure.http_status == 401:
                    raise
                parts.hint(f"Custom roles are not shown. {failure.message}")
        with ui.element("div").classes("card card-table"):
            columns = {"title": "Role", "name": "Name", "where": "From", "about": "What it is for"}
            made = parts.table(columns, rows, label="Roles")
            made.columns = [*made.columns, {"name": "deed", "label": "", "field": "deed", "align": "right"}]
            made.add_slot(
                "body-cell-deed",
                """<q-td :props="props" auto-width><q-btn flat dense no-caps label="Show"
                :aria-label="'Show ' + props.row.title" @click="$parent.$emit('look', props.row)" />
                <q-btn v-if="props.value" flat dense round icon="delete" :aria-label="'Delete ' + props.row.title"
                @click="$parent.$emit('remove', props.row)" /></q-td>""",
            )
            made.on("look", self._visit.act(self._show_role))
            made.on("remove", self._visit.act(self._delete_role))

    async def _show_role(self, event: Any) -> None:
        role = await self._visit.api.role(event.args["name"])
        with self._visit.client.content, ui.dialog(value=True) as dialog, ui.card().classes("card dialog"):
            dialog.props["aria-label"] = role.get("title", role["name"])
            ui.label(str(role.get("title", role["name"]))).classes("title-3")
            parts.hint(role.get("description", ""))
            parts.code("\n".join(role.get("includedPermissions", [])) or "No permissions", "Permissions")
            parts.button("Close", dialog.close)
        dialog.on("hide", dialog.delete)

    async def _delete_role(self, event: Any) -> None:
        role = event.args["name"]
        if await parts.asked(f"Delete {id_of(role)}?", "It grants nothing from then on. It can be restored for a week "
                             "with mlgate iam roles undelete.", "Delete"):  # fmt: skip
            await self._visit.api.delete(role)
            self._again("roles", f"{id_of(role)} was deleted.")

    def _new_role(self) -> None:
        async def create() -> None:
            role = {"title": title.value or "", "includedPermissions": list(held.value or ()), "stage": "GA"}
            await self._visit.api.create_role(f"projects/{self._project}", (role_id.value or "").strip(), role)
            self._again("roles", f"{role_id.value} was created.")

        form = parts.Form(self._visit, "New custom role", "Create", create)
        with form.body:
            role_id = ui.input("Id", placeholder="modelCaller").props("outlined dense stack-label autofocus")
            title = ui.input("Title", placeholder="Model caller").props("outlined dense stack-label")
            held = ui.select(sorted(ALL), multiple=True, label="Permissions", with_input=True)
            held.props("outlined dense use-chips")
        form.open()

    def _again(self, tab: str, text: str) -> None:
        """The tab from the start, with what was done."""
        self._visit.go(parts.path("projects", self._project, "access", tab=tab, at=f"{time.time_ns():x}"))
        self._visit.done(text)

    # ------------------------------------------------------------------------------------------------------- groups

    async def groups(self) -> None:
        with ui.row().classes("actions"):
            parts.button("New group", self._new_group, icon="add", kind="outline")
        found = await self._visit.api.groups()
        if not found:
            about = "A group is given a role as one person is. You see those that you may read, or are in."
            parts.empty("You see no groups", about, icon="groups")
        for group in found:
            self._draw_group(group)

    def _draw_group(self, group: Json) -> None:
        email = group["groupKey"]["id"]
        with ui.expansion(f"{group.get('displayName') or email} ({email})").classes("role") as box:
            inside = ui.element("div").classes("inside")
        opened = [False]

        async def show() -> None:
            if box.value and not opened[0]:
                opened[0] = True
                await self._draw_members(group, inside)

        box.on_value_change(self._visit.act(show))

    async def _draw_members(self, group: Json, inside: ui.element) -> None:
        inside.clear()
        with inside:
            try:
                found = await self._visit.api.memberships(group["name"])
            except Failure as failure:
                if failure.http_status == 401:
                    raise
                parts.hint(failure.message)
                return
        inside.clear()
        with inside:
            for membership in found:
                email = membership["preferredMemberKey"]["id"]
                with ui.element("div").classes("member"):
                    ui.label(str(email)).classes("member-text")
                    for role in membership.get("roles", ()):
                        ui.label(role["name"].lower()).classes("chip")
                    parts.icon_button("delete", f"Remove {email} from {group['groupKey']['id']}",
                                      self._visit.act(lambda m=membership: self._leave(group, m, inside)))  # fmt: skip
            with ui.element("div").classes("row-in"):
                who = ui.input("Add a member", placeholder="bob@example.com").props("outlined dense stack-label")
                parts.button("Add", self._visit.act(lambda: self._join(group, who.value or "", inside)), kind="outline")

    async def _join(self, group: Json, text: str, inside: ui.element) -> None:
        for member in members.typed(text):
            membership = {"preferredMemberKey": {"id": members.shown(member)}, "roles": [{"name": "MEMBER"}]}
            await self._visit.api.add_membership(group["name"], membership)
        await self._draw_members(group, inside)
        self._visit.done(f"{text} is in {group['groupKey']['id']} now.")

    async def _leave(self, group: Json, membership: Json, inside: ui.element) -> None:
        await self._visit.api.delete(membership["name"])
        await self._draw_members(group, inside)
        email = membership["preferredMemberKey"]["id"]
        self._visit.done(f"{email} is out of {group['groupKey']['id']}.", lambda: self._join(group, email, inside))

    def _new_group(self) -> None:
        async def create() -> None:
            group = {"groupKey": {"id": (email.value or "").strip()}, "parent": ORGANIZATION,
                     "displayName": name.value or ""}  # fmt: skip
            await self._visit.api.create_group({k: v for k, v in group.items() if v})
            self._again("groups", f"{email.value} was created; you are its owner.")

        form = parts.Form(self._visit, "New group", "Create", create)
        with form.body:
            email = ui.input("Address", placeholder="team@example.com").props("outlined dense stack-label autofocus")
            name = ui.input("Name", placeholder="Team").props("outlined dense stack-label")
        form.open()

    # ----------------------------------------------------------------------------------------------------- accounts

    async def accounts(self) -> None:
        with ui.row().classes("actions"):
            parts.button("New service account", self._new_account, icon="add", kind="outline")
        found = await self._visit.api.accounts(self._project)
        if not found:
            parts.empty(
                "No service accounts yet",
                "A service account is a program's own identity; it signs in with a key. Make one here, or with:",
                "mlgate iam service-accounts create ID",
                icon="smart_toy",
            )
        for account in found:
            self._draw_account(account)

    def _draw_account(self, account: Json) -> None:
        email = account["email"]
        with ui.element("section").classes("card") as section:
            section.props["aria-label"] = email
            with ui.element("div").classes("heading"):
                with ui.element("div").classes("heading-text"):
                    ui.label(account.get("displayName") or id_of(email)).classes("title-3")
                    parts.hint(email)
                with ui.element("div").classes("actions"):
                    off = bool(account.get("disabled"))
                    parts.state("DISABLED" if off else "ENABLED")
                    word = "Enable" if off else "Disable"
                    toggle = parts.button(word, self._visit.act(lambda: self._switch(account, off)))
                    toggle.props["aria-label"] = f"{word} {email}"
                    gone = parts.icon_button(
                        "delete", f"Delete {email}", self._visit.act(lambda: self._delete(account))
                    )
                    gone.props("flat")
            keys = ui.element("div").classes("form")
        self._visit.later(self._load_keys(account, keys), keys)

    async def _load_keys(self, account: Json, box: ui.element) -> None:
        try:
            found = await self._visit.api.keys(account["name"])
        except Failure as failure:
            with box:
                parts.hint(f"Its keys are not shown. {failure.message}")
            return
        box.clear()
        with box:
            for key in found:
                with ui.element("div").classes("member"):
                    ui.icon("key").props('aria-hidden="true"')
                    ui.label(id_of(key["name"])).classes("member-text code-text")
                    parts.hint(f"until {parts.when(key.get('validBeforeTime'))}")
                    if key.get("disabled"):
                        parts.state("DISABLED")
                    parts.icon_button("delete", f"Delete key {id_of(key['name'])[:8]}",
                                      self._visit.act(lambda k=key: self._drop_key(account, k, box)))  # fmt: skip
            new = parts.button("New key", self._visit.act(lambda: self._new_key(account, box)), icon="add")
            new.props["aria-label"] = f"New key for {account['email']}"

    async def _new_key(self, account: Json, box: ui.element) -> None:
        """Make a key and show it, this once."""
        made = await self._visit.api.create_key(account["name"])
        text = base64.b64decode(made["privateKeyData"]).decode()
        await self._load_keys(account, box)
        with (
            self._visit.client.content,
            ui.dialog(value=True).props("persistent") as dialog,
            ui.card().classes("card dialog"),
        ):
            dialog.props["aria-label"] = "The new key"
            ui.label("The new key").classes("title-3")
            ui.label("It is shown this once and stored nowhere. Keep it where only the program reads it, then:")
            parts.code("mlgate auth login --key-file key.json")
            with ui.row().classes("actions"):
                parts.button("Save as key.json", lambda: ui.download.content(text, "key.json"), icon="download",
                             kind="unelevated")  # fmt: skip
                parts.button("Copy", lambda: ui.clipboard.write(text), icon="content_copy")
                parts.button("I have it", dialog.close)
        dialog.on("hide", dialog.delete)

    async def _drop_key(self, account: Json, key: Json, box: ui.element) -> None:
        if await parts.asked("Delete this key?", "Whoever signs in with it cannot any more.", "Delete"):
            await self._visit.api.delete(key["name"])
            await self._load_keys(account, box)

    async def _switch(self, account: Json, on: bool) -> None:
        await self._visit.api.switch(account["name"], on)
        self._again("accounts", f"{account['email']} is {'enabled' if on else 'disabled'} now.")

    async def _delete(self, account: Json) -> None:
        if await parts.asked(f"Delete {account['email']}?", "Its keys and tokens are refused from then on.", "Delete"):
            await self._visit.api.delete(account["name"])
            self._again("accounts", f"{account['email']} was deleted.")

    def _new_account(self) -> None:
        async def create() -> None:
            await self._visit.api.create_account(self._project, (account_id.value or "").strip(), name.value or "")
            self._again("accounts", f"{account_id.value} was created.")

        form = parts.Form(self._visit, "New service account", "Create", create)
        with form.body:
            account_id = ui.input("Id", placeholder="batch-caller").props("outlined dense stack-label autofocus")
            name = ui.input("Name", placeholder="Batch caller").props("outlined dense stack-label")
        form.open()


def _row(number: int, entry: Json) -> parts.Row:
    state, path = entry.get("state", ""), entry.get("groupPath", [])
    member = entry.get("member", "")
    via = " > ".join(path) if path else member if member != entry.get("principal") else ""
    return {
        "n": number, "principal": entry.get("principal", ""), "role": entry.get("role", ""),
        "on": _end_of(entry.get("resource", "")), "from": _end_of(entry.get("grantedOn", "")),
        "via": via, "ends": parts.when(entry.get("expireTime")), "state": state, "tone": parts.tone(state),
    }  # fmt: skip


def _end_of(name: str) -> str:
    """`models/cancer` of a full name."""
    return "/".join(name.split("/")[-2:])
