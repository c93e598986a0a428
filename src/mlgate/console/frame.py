"""What stands around every page: the bar with the project, the navigation, who is signed in; and which address shows
which page."""

# No `from __future__ import annotations` here: NiceGUI looks for the very class PageArguments in signatures.
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

import httpx
from nicegui import PageArguments, ui
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.client import ConsoleClient, SessionEnded
from mlgate.console.pages import access, jobs, model, models, operations, storage, studies, version
from mlgate.console.sessions import Session, Sessions
from mlgate.console.visit import Visit

Builder = Callable[..., Awaitable[None]]

#: Address below a project -> the page.
_PAGES: dict[str, Builder] = {
    "/models": models.page,
    "/models/{model}": model.page,
    "/models/{model}/versions/{version}": version.page,
    "/jobs": jobs.page,
    "/jobs/{job}": jobs.job_page,
    "/studies": studies.page,
    "/locations/{location}/studies/{study}": studies.study_page,
    "/operations": operations.page,
    "/storage": storage.page,
    "/storage/{bucket}": storage.bucket_page,
    "/access": access.page,
}
#: The navigation: word, picture, address below the project, and what else belongs to it.
_SECTIONS = (
    ("Models", "category", "models", ("models",)),
    ("Jobs", "work_outline", "jobs", ("jobs",)),
    ("Studies", "insights", "studies", ("studies", "locations")),
    ("Operations", "pending_actions", "operations", ("operations",)),
    ("Storage", "folder_open", "storage", ("storage",)),
    ("Access", "admin_panel_settings", "access", ("access",)),
)
_THEMES = {"": None, "dark": True, "light": False}
_NEXT_THEME = {"": "dark", "dark": "light", "light": ""}
_THEME_WORDS = {"": "as the system", "dark": "dark", "light": "light"}


class Frame:
    def __init__(self, http: httpx.AsyncClient, sessions: Sessions, api_url: str) -> None:
        self._http = http
        self._sessions = sessions
        self._api_url = api_url

    def routes(self) -> Sequence[Route]:
        return [Route("/download/{bucket}/{object:path}", self._download, methods=["GET"])]

    async def page(self, request: Request) -> None:
        """Every address of the console: the frame, and in it the page of the address."""
        session: Session = request.scope["mlgate.session"]
        api = ConsoleClient(self._http, session.bearer)
        visit = Visit(session, self._sessions, api, ui.context.client, self._api_url)
        ui.add_head_html('<link rel="stylesheet" href="/console.css"><script type="module" src="/console.js"></script>')
        dark = ui.dark_mode(_THEMES[session.theme])
        visit.begin()
        bar = _Bar(visit, dark)
        visit.client.sub_pages_router.on_path_changed(lambda _: bar.show())
        with ui.element("div").props('id=main tabindex="-1"').classes("main"):
            ui.sub_pages(
                {
                    "/": _routed(visit, _first),
                    "/projects/{project}": _routed(visit, _models),
                    **{f"/projects/{{project}}{p}": _routed(visit, builder) for p, builder in _PAGES.items()},
                },
            )
        bar.show()
        visit.later(bar.load_projects(), bar.bar)

    async def _download(self, request: Request) -> Response:
        """An object, as an attachment that no browser runs."""
        session: Session = request.scope["mlgate.session"]
        name = request.path_params["object"]
        chunks = ConsoleClient(self._http, session.bearer).download(request.path_params["bucket"], name)
        try:
            first = await anext(chunks, b"")
        except Failure as failure:
            return JSONResponse({"error": failure.message}, failure.http_status or 503)

        async def body() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        file_name = quote(name.rpartition("/")[2] or "object", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{file_name}", "Cache-Control": "no-store"}
        return StreamingResponse(body(), media_type="application/octet-stream", headers=headers)


def _routed(visit: Visit, builder: Builder) -> Callable[[PageArguments], Awaitable[None]]:
    """A page of an address: what it cannot show, it says why."""

    async def build(args: PageArguments) -> None:
        given = {name: unquote(value) for name, value in args.path_parameters.items()}
        visit.project = given.get("project", "")
        visit.arrive()
        with ui.element("div").classes("page") as page:
            waiting = ui.element("div").classes("waiting").props('aria-busy="true"')
            waiting.props["aria-label"] = "Loading"
            try:
                await builder(visit, **given, query=dict(args.query_parameters))
            except SessionEnded as ended:
                visit.fault(ended)
            except Failure as failure:
                with page:
                    parts.denied(failure)
            finally:
                if not waiting.is_deleted:
                    waiting.delete()

    return build


async def _first(visit: Visit, query: dict[str, str]) -> None:
    """No project in the address: the first one."""
    projects = await visit.api.projects()
    if projects:
        visit.go(parts.path("projects", projects[0]["projectId"], "models"))
        return
    ui.page_title("mlgate")
    parts.empty(
        "No whole project is shared with you",
        "If a model is, say in which project; whoever shared it knows. You will see what you may use there.",
        icon="workspaces",
    )
    with ui.element("div").classes("row-in"):
        typed = ui.input("Project", placeholder="demo-project").props("outlined dense stack-label")

        def open_project() -> None:
            visit.go(parts.path("projects", (typed.value or "").strip(), "models"))

        typed.on("keydown.enter", open_project)
        parts.button("Open", open_project, kind="unelevated")


async def _models(visit: Visit, project: str, query: dict[str, str]) -> None:
    visit.go(parts.path("projects", project, "models"))


class _Bar:
    """The bar on top and the navigation at the side."""

    def __init__(self, visit: Visit, dark: ui.dark_mode) -> None:
        self._visit, self._dark = visit, dark
        self._projects: list[str] = []
        skip = ui.element("a").classes("skip")
        skip.props["href"] = "#main"
        with skip:
            ui.label("Skip to the page")
        with ui.header().classes("bar") as self.bar:
            menu = parts.icon_button("menu", "Navigation", lambda: self._drawer.toggle())
            menu.classes("bar-menu")
            with ui.element("a").classes("brand") as brand:
                brand.props["href"] = "/"
                ui.element("img").props('src="/mark.svg" alt="" width="26" height="26"')
                ui.label("mlgate")
            self._select = (
                ui.select([], on_change=self._chosen).props("dense outlined options-dense").classes("project")
            )
            self._select.props["aria-label"] = "Project"
            ui.element("div").classes("spacer")
            self._theme = parts.icon_button("contrast", "", visit.act(self._turn))
            self._name_theme()
            self._account()
        with ui.left_drawer(bordered=True).props("width=216 breakpoint=900").classes("drawer") as self._drawer:
            self._nav = ui.element("nav").classes("nav")
            self._nav.props["aria-label"] = "Sections"
        self._shown = ""

    def _account(self) -> None:
        session = self._visit.session
        name = session.principal.partition(":")[2]
        with ui.button(icon="account_circle").props("flat round dense") as account:
            account.props["aria-label"] = f"Account of {name}"
            with ui.menu().classes("account"):
                ui.label(name).classes("title-3")
                ui.label(f"Signed in as {session.principal}").classes("hint")
                ui.label(f"This session ends in {parts.days_left(session.expires).replace(' left', '')}.").classes(
                    "hint"
                )
                parts.button("Sign out", self._sign_out, icon="logout", kind="outline")

    def _sign_out(self) -> None:
        ui.run_javascript(
            "fetch('/sign-out', {method: 'POST', redirect: 'manual'}).then(() => location.replace('/sign-in'))"
        )

    def _turn(self) -> None:
        session = self._visit.session
        session.theme = _NEXT_THEME[session.theme]
        self._dark.value = _THEMES[session.theme]
        self._visit._sessions.save(session)
        self._name_theme()

    def _name_theme(self) -> None:
        label = f"Colours: {_THEME_WORDS[self._visit.session.theme]}"
        self._theme.props["aria-label"] = label
        self._theme.props["title"] = label

    async def load_projects(self) -> None:
        self._projects = [project["projectId"] for project in await self._visit.api.projects()]
        self._options()

    def _options(self) -> None:
        project = self._project()
        known = self._projects if project in self._projects or not project else [project, *self._projects]
        self._select.set_options(known, value=project or None)

    def _project(self) -> str:
        found = re.match(r"/projects/([^/?#]+)", self._visit.client.sub_pages_router.current_path)
        return unquote(found.group(1)) if found else ""

    def _chosen(self, change: Any) -> None:
        if change.value and change.value != self._project():
            self._visit.go(parts.path("projects", change.value, self._section() or "models"))

    def _section(self) -> str:
        found = re.match(r"/projects/[^/]+/([a-z]+)", self._visit.client.sub_pages_router.current_path)
        first = found.group(1) if found else ""
        return next((address for _, _, address, words in _SECTIONS if first in words), "")

    def show(self) -> None:
        """The navigation of the project that the address names."""
        project, section = self._project(), self._section()
        if self._select.value != (project or None):
            self._options()
        if self._shown == (shown := json.dumps([project, section])):
            return
        self._shown = shown
        self._nav.clear()
        with self._nav:
            for word, icon, address, _ in _SECTIONS if project else ():
                with ui.element("a").classes("nav-item") as item:
                    item.props["href"] = parts.path("projects", project, address)
                    if address == section:
                        item.props["aria-current"] = "page"
                        item.classes("nav-here")
                    ui.icon(icon).props('aria-hidden="true"')
                    ui.label(word)
