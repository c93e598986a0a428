"""Buckets and the objects in them: look, upload, download, delete, share."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.events import MultiUploadEventArguments

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.permissions import Permissions
from mlgate.console.tabs.bar import tabs
from mlgate.console.visit import Visit

Json = dict[str, Any]

_OBJECTS = {"id": "Name", "size": "Size", "updated": "Changed (UTC)", "type": "Type"}
_DEEDS = """<q-td :props="props" auto-width>
    <a v-if="props.row.download" class="link" :href="props.row.download" download
    :aria-label="'Download ' + props.row.id">Download</a>
    <q-btn v-if="props.row.download" flat dense round icon="delete" :aria-label="'Delete ' + props.row.id"
    @click="$parent.$emit('remove', props.row)" /></q-td>"""


async def page(visit: Visit, project: str, query: dict[str, str]) -> None:
    ui.page_title(f"Storage - {project} - mlgate")

    def new() -> None:
        async def create() -> None:
            made = await visit.api.create_bucket(project, (name.value or "").strip())
            visit.go(parts.path("projects", project, "storage", made["name"]))

        form = parts.Form(visit, "New bucket", "Create", create)
        with form.body:
            name = ui.input("Name", placeholder="ada-models").props("outlined dense stack-label autofocus")
            parts.hint("Names of buckets are one space for all projects.")
        form.open()

    with parts.heading("Storage"):
        parts.button("New bucket", new, icon="add", kind="unelevated")
    found = await visit.api.buckets(project)
    with ui.element("div").classes("card card-table"):
        if not found:
            parts.empty("No buckets yet", "A bucket holds files: trained models to deploy, data, results. Make one "
                        "here, or with:", "mlgate storage buckets create gs://BUCKET", icon="folder_open")  # fmt: skip
            return
        rows = [
            {"name": b["name"], "id": b["name"], "created": parts.when(b.get("timeCreated")),
             "link": parts.path("projects", project, "storage", b["name"])}
            for b in found
        ]  # fmt: skip
        columns = {"id": "Bucket", "created": "Created (UTC)"}
        parts.table(columns, rows, label=f"Buckets of {project}", slots={"id": parts.LINK_CELL})


async def bucket_page(visit: Visit, project: str, bucket: str, query: dict[str, str]) -> None:
    ui.page_title(f"{bucket} - mlgate")
    view = BucketView(visit, project, bucket, query.get("prefix", ""))
    crumbs = [("Storage", parts.path("projects", project, "storage"))]
    with parts.heading(bucket, crumbs):
        parts.button("Delete", visit.act(view.delete_bucket), icon="delete_outline")
    titles = {"objects": "Objects", "permissions": "Permissions"}
    path = ("projects", project, "storage", bucket)
    await tabs(visit, path, titles, query.get("tab", ""), {"objects": view.objects, "permissions": view.permissions})


class BucketView:
    def __init__(self, visit: Visit, project: str, bucket: str, prefix: str) -> None:
        self._visit, self._project, self._bucket, self._prefix = visit, project, bucket, prefix
        self._tokens = [""]

    async def objects(self) -> None:
        with ui.element("nav").classes("crumbs") as crumbs:
            crumbs.props["aria-label"] = "Folders"
            parts.link(f"gs://{self._bucket}", self._address(""))
            folders = self._prefix.split("/")[:-1]
            for i, folder in enumerate(folders):
                ui.label("/")
                parts.link(folder, self._address("/".join(folders[: i + 1]) + "/"))
        parts.drop_zone(self._visit.act(self._dropped), "Drop files here to upload them, or")
        self._list = ui.element("div").classes("card card-table")
        await self._load()

    def _address(self, prefix: str) -> str:
        return parts.path("projects", self._project, "storage", self._bucket, prefix=prefix)

    async def _load(self) -> None:
        answer = await self._visit.api.objects(self._bucket, self._prefix, self._tokens[-1])
        cut = len(self._prefix)
        rows: list[parts.Row] = [
            {"name": prefix, "id": prefix[cut:], "link": self._address(prefix), "type": "folder", "size": "",
             "updated": ""}
            for prefix in answer.get("prefixes", ())
        ]  # fmt: skip
        rows += [
            {"name": o["name"], "id": o["name"][cut:] or o["name"], "size": parts.size(int(o.get("size", 0))),
             "updated": parts.when(o.get("updated")), "type": o.get("contentType", ""),
             "download": parts.path("download", self._bucket, *o["name"].split("/"))}
            for o in answer.get("items", ())
        ]  # fmt: skip
        self._list.clear()
        with self._list:
            if not rows:
                parts.empty("Nothing here", "Drop files above, or copy them here with:",
                            f"mlgate storage cp -r ./model gs://{self._bucket}/{self._prefix}model")  # fmt: skip
                return
            made = parts.table(_OBJECTS, rows, label=f"Objects of {self._bucket}", slots={"id": parts.LINK_CELL})
            made.columns = [*made.columns, {"name": "deed", "label": "", "field": "id", "align": "right"}]
            made.add_slot("body-cell-deed", _DEEDS)
            made.on("remove", self._visit.act(self._remove))
            with ui.element("div").classes("pager"):
                back = parts.button("Previous", self._visit.act(self._back), icon="chevron_left")
                back.set_enabled(len(self._tokens) > 1)
                token = answer.get("nextPageToken", "")
                on = parts.button("Next", self._visit.act(lambda: self._on(token)), icon="chevron_right")
                on.set_enabled(bool(token))

    async def _back(self) -> None:
        self._tokens.pop()
        await self._load()

    async def _on(self, token: str) -> None:
        self._tokens.append(token)
        await self._load()

    async def _dropped(self, event: MultiUploadEventArguments) -> None:
        for file in event.files:
            await self._visit.api.upload(
                self._bucket, self._prefix + file.name, file.iterate(), file.content_type or "application/octet-stream"
            )
        await self._load()
        self._visit.done(f"Uploaded: {', '.join(file.name for file in event.files[:5])}.")

    async def _remove(self, event: Any) -> None:
        name = event.args["name"]
        if await parts.asked(f"Delete {name}?", "What is deleted is gone.", "Delete"):
            await self._visit.api.delete_object(self._bucket, name)
            await self._load()
            self._visit.done(f"{name} was deleted.")

    async def permissions(self) -> None:
        with ui.element("div").classes("card"):
            shown = Permissions(self._visit, "bucket", "storage.buckets")
        await shown.show([f"buckets/{self._bucket}"])

    async def delete_bucket(self) -> None:
        if await parts.asked(f"Delete {self._bucket}?", "Only an empty bucket can be deleted.", "Delete"):
            try:
                await self._visit.api.delete_bucket(self._bucket)
            except Failure as failure:
                if failure.status == "ABORTED" or failure.http_status == 409:
                    raise Failure(failure.status, f"{self._bucket} is not empty.", http_status=409) from None
                raise
            self._visit.go(parts.path("projects", self._project, "storage"))
