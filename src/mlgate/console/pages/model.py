"""A model and its versions: deploy, try, call from outside, share, and look back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nicegui import ui
from nicegui.events import MultiUploadEventArguments

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.charts import traffic
from mlgate.console.history import History
from mlgate.console.pages.operations import state_of
from mlgate.console.permissions import Permissions
from mlgate.console.visit import Visit
from mlgate.core.names import id_of

Json = dict[str, Any]

_COLUMNS = {
    "id": "Version", "state": "State", "framework": "Framework", "runtime": "Runtime", "created": "Created (UTC)",
    "used": "Last used (UTC)",
}  # fmt: skip
_TABS = {"versions": "Versions", "try": "Try it", "code": "Call it", "permissions": "Permissions",
         "history": "Policy history", "traffic": "Traffic"}  # fmt: skip
_FRAMEWORKS = {"": "By its files", "SCIKIT_LEARN": "scikit-learn", "XGBOOST": "XGBoost", "TENSORFLOW": "TensorFlow"}
_LOGS = {"SERVER": "Deployment", "CONSOLE": "What it prints", "ACCESS": "Requests"}
_LOG_LINES = 500
_UNSETTLED = ("CREATING", "UPDATING", "DELETING")
_EXAMPLE = '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'


async def page(visit: Visit, project: str, model: str, query: dict[str, str]) -> None:
    name = f"projects/{project}/models/{model}"
    ui.page_title(f"{model} - mlgate")
    try:
        found = await visit.api.model(name)
    except Failure as failure:
        if failure.status != "PERMISSION_DENIED" or not await visit.api.may(name, ("ml.models.predict",)):
            raise
        found = {"name": name, "description": "You may send this model instances, and not look at it."}
    await ModelView(visit, project, found).build(query.get("tab", "versions"))


class ModelView:
    def __init__(self, visit: Visit, project: str, model: Json) -> None:
        self._visit, self._project, self._model = visit, project, model
        self._name, self._id = model["name"], id_of(model["name"])
        self._path = ("projects", project, "models", self._id)
        self._new_bucket = ""

    async def build(self, tab: str) -> None:
        with parts.heading(self._id, [("Models", parts.path("projects", self._project, "models"))]):
            parts.button("Delete", self._visit.act(self._delete), icon="delete_outline")
            parts.button("Deploy a version", self._deploy, icon="rocket_launch", kind="unelevated")
        with ui.element("div").classes("member-from"):
            for key, value in sorted(self._model.get("labels", {}).items()):
                ui.label(f"{key}: {value}").classes("chip")
        if self._model.get("description"):
            parts.hint(self._model["description"])
        await tabs(self._visit, self._path, _TABS, tab, {
            "versions": self._versions, "try": self._try, "code": self._code, "permissions": self._permissions,
            "history": self._history, "traffic": self._traffic,
        })  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- versions

    async def _versions(self) -> None:
        with ui.element("div").classes("card card-table") as box:
            pass
        self._box = box
        await self._load_versions()

    async def _load_versions(self) -> None:
        found = await self._visit.api.versions(self._name)
        self._draw_versions(found)
        if any(version.get("state") in _UNSETTLED for version in found):
            self._visit.later(parts.polled(self._look, self._box), self._box)

    async def _look(self) -> bool:
        found = await self._visit.api.versions(self._name)
        self._draw_versions(found)
        return any(version.get("state") in _UNSETTLED for version in found)

    def _draw_versions(self, found: list[Json]) -> None:
        if self._box.is_deleted:
            return
        self._box.clear()
        with self._box:
            if not found:
                parts.empty(
                    "No versions yet", "A version is a trained model that answers. Deploy one from a bucket or from "
                    "files of yours, here or with:",
                    f"mlgate versions create v1 --model {self._id} --origin gs://BUCKET/PATH", icon="rocket_launch",
                )  # fmt: skip
                return
            made = parts.table(
                _COLUMNS, [self._row(version) for version in found], label=f"Versions of {self._id}",
                slots={
                    "id": parts.LINK_CELL + """<span v-if="props.row.default" class="chip chip-brand"
                        style="margin-left: 8px">default</span>""",
                    "state": parts.STATE_CELL,
                },
            )  # fmt: skip
            made.add_slot(
                "body-cell-deed",
                """<q-td :props="props"><q-btn v-if="!props.row.default && props.row.state === 'READY'" flat dense
                no-caps label="Make default" :aria-label="'Make ' + props.row.id + ' the default'"
                @click="$parent.$emit('deed', props.row)" /></q-td>""",
            )
            made.columns = [*made.columns, {"name": "deed", "label": "", "field": "id", "align": "right"}]
            made.on("deed", self._visit.act(self._make_default))

    def _row(self, version: Json) -> parts.Row:
        version_id, state = id_of(version["name"]), version.get("state", "")
        return {
            "name": version["name"], "id": version_id, "state": state, "tone": parts.tone(state),
            "link": parts.path(*self._path, "versions", version_id), "default": bool(version.get("isDefault")),
            "framework": _FRAMEWORKS.get(version.get("framework", ""), version.get("framework", "")),
            "runtime": version.get("runtimeVersion", ""), "created": parts.when(version.get("createTime")),
            "used": parts.when(version.get("lastUseTime")),
        }  # fmt: skip

    async def _make_default(self, event: Any) -> None:
        before = next((v["name"] for v in await self._visit.api.versions(self._name) if v.get("isDefault")), "")

        async def undo() -> None:
            await self._visit.api.set_default(before)
            await self._load_versions()

        await self._visit.api.set_default(event.args["name"])
        await self._load_versions()
        self._visit.done(f"{event.args['id']} is the default version now.", undo if before else None)

    async def _delete(self) -> None:
        if await parts.asked(
            f"Delete {self._id}?", "The model and its policy go. Versions have to go before.", "Delete"
        ):
            await self._visit.api.delete(self._name)
            self._visit.go(parts.path("projects", self._project, "models"))
            self._visit.done(f"{self._id} was deleted.")

    # ------------------------------------------------------------------------------------------------------- deploy

    def _deploy(self) -> None:
        files: dict[str, Any] = {}

        async def create() -> None:
            version: Json = {"name": (name.value or "").strip()}
            if files:
                version["deploymentUri"] = await self._store(bucket.value or "", version["name"], files)
            elif (origin.value or "").strip():
                version["deploymentUri"] = origin.value.strip()
            else:
                raise Failure("INVALID_ARGUMENT", "Say which directory of a bucket to deploy, or drop the files.")
            for field, given in (
                ("framework", framework.value), ("runtimeVersion", runtime.value), ("pythonVersion", python.value),
                ("description", about.value),
            ):  # fmt: skip
                if given:
                    version[field] = given.strip()
            await self._visit.api.create_version(self._name, version)
            self._visit.go(parts.path(*self._path, "versions", version["name"]))

        form = parts.Form(self._visit, f"Deploy a version of {self._id}", "Deploy", create)
        with form.body:
            name = ui.input("Version", placeholder="v1").props("outlined dense stack-label autofocus")
            origin = ui.input("Directory in a bucket", placeholder="gs://BUCKET/PATH").props(
                "outlined dense stack-label"
            )
            parts.hint("or drop the files, such as model.joblib; they go into a bucket first:")
            bucket = ui.select([], label="Bucket for the files", with_input=True, new_value_mode="add-unique")
            bucket.props("outlined dense")
            new = parts.hint("The project has no bucket yet: this one is made.")
            new.set_visibility(False)
            self._visit.later(self._load_buckets(bucket, new), form.body)

            def dropped(event: MultiUploadEventArguments) -> None:
                files.update({file.name: file for file in event.files})
                told.set_text(", ".join(sorted(files)))

            drop_zone(dropped)
            told = parts.hint("")
            with ui.expansion("More").classes("role"), ui.column().classes("form").style("padding: 12px"):
                framework = ui.select(_FRAMEWORKS, value="", label="Framework").props("outlined dense")
                runtime = ui.input("Runtime version", value="2.11").props("outlined dense")
                python = ui.input("Python version", value="3.7").props("outlined dense")
                parts.hint("The server's own Python stands in for 2.11 with 3.7 when it has the framework.")
                about = ui.input("Description").props("outlined dense")
        form.open()

    async def _load_buckets(self, select: ui.select, new: ui.label) -> None:
        try:
            names = [bucket["name"] for bucket in await self._visit.api.buckets(self._project)]
        except Failure:
            select.set_options([])  # whoever may not list buckets can still name one
            return
        self._new_bucket = "" if names else f"{self._project}-models"
        new.set_visibility(not names)
        names = names or [self._new_bucket]
        select.set_options(names, value=names[0])

    async def _store(self, bucket: str, version: str, files: dict[str, Any]) -> str:
        if not bucket:
            raise Failure("INVALID_ARGUMENT", "Choose the bucket that the files go into.")
        if bucket == self._new_bucket:
            await self._visit.api.create_bucket(self._project, bucket)
            self._new_bucket = ""
        prefix = f"{self._id}/{version or 'version'}"
        for name, file in files.items():
            await self._visit.api.upload(bucket, f"{prefix}/{name}", file.iterate(), "application/octet-stream")
        return f"gs://{bucket}/{prefix}"

    # ------------------------------------------------------------------------------------------------- use and share

    async def _try(self) -> None:
        try_it(self._visit, self._name)

    async def _code(self) -> None:
        code_to_call(self._visit, self._project, self._id, "")

    async def _permissions(self) -> None:
        with ui.element("div").classes("card"):
            permissions = Permissions(self._visit)
        await permissions.show([self._name])

    async def _history(self) -> None:
        await History(self._visit, self._name).build()

    async def _traffic(self) -> None:
        await traffic(self._visit, self._name)


# ------------------------------------------------------------------------------------------------------------ a version


async def version_page(visit: Visit, project: str, model: str, version: str, query: dict[str, str]) -> None:
    ui.page_title(f"{version} of {model} - mlgate")
    name = f"projects/{project}/models/{model}/versions/{version}"
    found = await visit.api.get(name)
    await VersionView(visit, project, model, found).build(query.get("tab", "state"))


_VERSION_TABS = {"state": "State", "log": "Log", "try": "Try it", "code": "Call it", "traffic": "Traffic"}


class VersionView:
    def __init__(self, visit: Visit, project: str, model: str, version: Json) -> None:
        self._visit, self._project, self._model, self._version = visit, project, model, version
        self._name, self._id = version["name"], id_of(version["name"])
        self._path = ("projects", project, "models", model, "versions", self._id)

    async def build(self, tab: str) -> None:
        models = parts.path("projects", self._project, "models")
        crumbs = [("Models", models), (self._model, parts.path("projects", self._project, "models", self._model))]
        with parts.heading(self._id, crumbs):
            parts.button("Delete", self._visit.act(self._delete), icon="delete_outline")
            self._star = parts.button(
                "Make default", self._visit.act(self._make_default), icon="star_outline", kind="outline"
            )
        await tabs(self._visit, self._path, _VERSION_TABS, tab, {
            "state": self._state, "log": self._log, "try": self._try, "code": self._code, "traffic": self._traffic,
        })  # fmt: skip

    async def _state(self) -> None:
        with parts.card(f"State of {self._id}") as self._box:
            self._facts = ui.element("div").classes("facts")
            self._trouble = ui.element("div")
            self._done = ui.element("div").classes("form")
        self._draw()
        if self._version.get("state") in _UNSETTLED:
            self._visit.later(parts.polled(self._look, self._box), self._box)
        self._visit.later(self._deployments(), self._done)

    async def _look(self) -> bool:
        self._version = await self._visit.api.get(self._name)
        self._draw()
        await self._deployments()
        return self._version.get("state") in _UNSETTLED

    def _draw(self) -> None:
        if self._facts.is_deleted:
            return
        self._facts.clear()
        self._trouble.clear()
        self._star.set_visibility(not self._version.get("isDefault"))
        version = self._version
        shown = {
            "Default": "yes" if version.get("isDefault") else "no",
            "Directory": version.get("deploymentUri"),
            "Framework": _FRAMEWORKS.get(version.get("framework", ""), version.get("framework")),
            "Runtime version": version.get("runtimeVersion"),
            "Python version": version.get("pythonVersion"),
            "Prediction class": version.get("predictionClass"),
            "Machine type": version.get("machineType"),
            "Service account": version.get("serviceAccount"),
            "Description": version.get("description"),
            "Created (UTC)": parts.when(version.get("createTime")),
            "Last used (UTC)": parts.when(version.get("lastUseTime")),
        }
        with self._facts:
            ui.label("State")
            with ui.element("div").props('role="status"'):
                parts.state(version.get("state", ""))
            for word, value in shown.items():
                if value:
                    ui.label(word)
                    ui.label(value)
        if version.get("errorMessage"):
            with self._trouble:
                ui.label(version["errorMessage"]).classes("error").props('role="alert"')

    async def _deployments(self) -> None:
        """What was done to the version: its operations, newest first."""
        model = self._name.rpartition("/versions/")[0]
        try:
            answer = await self._visit.api.operations(self._project, text=f'metadata.modelName:"{model}"')
        except Failure as failure:
            parts.hint(f"Its deployments are not shown. {failure.message}")
            return
        lines = [
            operation for operation in answer.get("operations", ())
            if operation.get("metadata", {}).get("version", {}).get("name") == self._name
        ]  # fmt: skip
        if self._done.is_deleted:
            return
        self._done.clear()
        with self._done:
            if lines:
                with ui.element("h2").classes("title-2"):
                    ui.label("What was done to it")
            for operation in lines:
                self._draw_operation(operation)

    def _draw_operation(self, operation: Json) -> None:
        metadata = operation["metadata"]
        with ui.element("div").classes("member-from"):
            parts.state(state_of(operation))
            target = parts.path("projects", self._project, "operations", selected=id_of(operation["name"]))
            parts.link(metadata.get("operationType", "").replace("_", " ").capitalize(), target)
            ended = parts.when(metadata.get("endTime")) or "now"
            parts.hint(f"{parts.when(metadata.get('createTime'))} to {ended}")
        if "error" in operation:
            ui.label(operation["error"].get("message", "")).classes("error")

    async def _log(self) -> None:
        """The last lines of what the server did, of what the model prints, or of how it answered."""
        with ui.element("div").classes("card"):
            with ui.row().classes("actions"):
                kind = ui.toggle(_LOGS, value="SERVER").props("no-caps dense flat")
                kind.props["aria-label"] = "Which log"
                parts.icon_button("refresh", "Refresh", self._visit.act(lambda: load()))
            box = ui.element("div").classes("log").props('role="log" tabindex="0"')
            box.props["aria-label"] = "Log"

        async def load() -> bool:
            lines = await self._visit.api.version_log(self._name, kind.value, _LOG_LINES)
            self._version = await self._visit.api.get(self._name)
            if box.is_deleted:
                return False
            box.clear()
            with box:
                if not lines:
                    parts.hint("No lines yet.")
                for line in lines:
                    ui.label(_log_line(line)).classes("log-line")
            return self._version.get("state") in _UNSETTLED

        kind.on_value_change(self._visit.act(load))
        if await load():
            self._visit.later(parts.polled(load, box), box)

    async def _make_default(self) -> None:
        self._version = await self._visit.api.set_default(self._name)
        self._visit.done(f"{self._id} is the default version of {self._model} now.")
        self._draw()

    async def _delete(self) -> None:
        if await parts.asked(
            f"Delete version {self._id}?", "Whoever calls it by name gets errors from then on.", "Delete"
        ):
            await self._visit.api.delete(self._name)
            self._visit.go(parts.path("projects", self._project, "models", self._model))
            self._visit.done(f"{self._id} is being deleted.")

    async def _try(self) -> None:
        try_it(self._visit, self._name)

    async def _code(self) -> None:
        code_to_call(self._visit, self._project, self._model, self._id)

    async def _traffic(self) -> None:
        await traffic(self._visit, self._name)


# ------------------------------------------------------------------------------------------------ what both have


async def tabs(
    visit: Visit, path: tuple[str, ...], titles: dict[str, str], chosen: str,
    builders: dict[str, Callable[[], Awaitable[None]]],
) -> None:  # fmt: skip
    """Tabs of a page, each under an address of its own and built when it is looked at."""
    chosen = chosen if chosen in titles else next(iter(titles))
    with ui.tabs(value=cast(Any, chosen)).props("dense no-caps align=left outside-arrows mobile-arrows") as bar:
        for name, title in titles.items():
            ui.tab(name, title)
    bar.classes("tabs")
    body = ui.column().classes("form")

    async def show(name: str) -> None:
        body.clear()
        with body:
            waiting = ui.element("div").classes("waiting").props('aria-busy="true"')
            try:
                await builders[name]()
            except Failure as failure:
                if failure.http_status == 401:
                    raise
                with body:
                    parts.denied(failure)
            finally:
                if not waiting.is_deleted:
                    waiting.delete()

    async def change(event: Any) -> None:
        visit.replace_address(parts.path(*path, tab=event.value))
        await show(event.value)

    bar.on_value_change(visit.act(change))
    await show(chosen)


def drop_zone(on_files: Callable[[MultiUploadEventArguments], Any], label: str = "Drop files here, or") -> None:
    """A place for files. Quasar's own head of it has no names for screen readers."""
    with ui.element("div").classes("drop"):
        upload = ui.upload(multiple=True, auto_upload=True, label=label, on_multi_upload=on_files)
        upload.props("flat bordered")
        upload.add_slot("header", _DROP_HEAD.replace("LABEL", label))


_DROP_HEAD = """<div class="drop-head"><label class="drop-label">LABEL<q-uploader-add-trigger /></label>
    <q-btn flat dense no-caps color="primary" label="choose them" @click="props.pickFiles" /></div>"""


def try_it(visit: Visit, name: str) -> None:
    """A box for instances, and what the model says to them."""
    with parts.card("Try a prediction"):
        box = ui.textarea("Request (JSON)", value=_EXAMPLE).props("outlined autogrow input-class=code-text")
        answer = ui.element("div")

        async def send() -> None:
            answer.clear()
            try:
                told = await visit.api.predict(name, box.value or "")
            except Failure as failure:
                if failure.http_status == 401:
                    raise
                with answer:
                    ui.label(failure.message).classes("error").props('role="alert"')
                return
            with answer:
                parts.code(_pretty(told), "Answer")

        with ui.row().classes("actions"):
            parts.button("Predict", visit.act(send), icon="play_arrow", kind="unelevated")


def _log_line(line: Json) -> str:
    told = line.get("text") or " ".join(str(line[f]) for f in ("method", "status", "latency") if f in line)
    return f"{str(line.get('time', ''))[:19]}  {told}"


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2)[:200_000]
    except ValueError:
        return text[:200_000]


def code_to_call(visit: Visit, project: str, model: str, version: str) -> None:
    """How to call it from outside, to be copied."""
    name = f"projects/{project}/models/{model}" + (f"/versions/{version}" if version else "")
    parts.hint("$TOKEN is your access token: mlgate auth print-access-token prints it.")
    for title, text in (
        ("curl", _CURL.format(url=visit.api_url, name=name, body=_EXAMPLE)),
        ("Python", _PYTHON.format(url=visit.api_url, name=name)),
        ("Command line", _CLI.format(url=visit.api_url, project=project, model=model,
                                     version=f" --version {version}" if version else "")),
    ):  # fmt: skip
        with parts.card(title):
            parts.code(text, title)


_CURL = """curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
  -d '{body}' \\
  {url}/v1/{name}:predict"""
_PYTHON = """import os

from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

ml = build(
    "ml", "v1", credentials=Credentials(os.environ["TOKEN"]), client_options={{"api_endpoint": "{url}"}}
)
answer = ml.projects().predict(name="{name}", body={{"instances": [[5.1, 3.5, 1.4, 0.2]]}}).execute()
print(answer["predictions"])"""
_CLI = """export MLGATE_SERVER={url} MLGATE_PROJECT={project}
echo '[5.1, 3.5, 1.4, 0.2]' | mlgate predict --model {model}{version} --json-instances -"""
