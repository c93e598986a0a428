"""One open page: who looks at it, the API as that person, and where they are told what happened.

The rules of this file keep NiceGUI's one trap shut: a handler may rebuild the very part of the page that its button
stands in, and must not touch that part afterwards. Handlers are wrapped by `act`, which catches what went wrong and
tells it in an element that no page removes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any

import structlog
from nicegui import background_tasks, ui
from nicegui.client import Client

from mlgate.cli.failure import Failure
from mlgate.console.client import ConsoleClient, SessionEnded
from mlgate.console.sessions import Session, Sessions
from mlgate.console.sign_in import sign_in_address
from mlgate.core.errors import RpcError

log = structlog.get_logger("mlgate.console")

Undo = Callable[[], Awaitable[None]]


class Visit:
    def __init__(self, session: Session, sessions: Sessions, api: ConsoleClient, client: Client, api_url: str) -> None:
        self.session = session
        self.api = api
        self.client = client
        #: The API's address for people, for code that they copy.
        self.api_url = api_url
        self.project = ""
        self._sessions = sessions
        self._bar: ui.element | None = None
        self._is_over = False
        self._is_leaving = self._is_kept = False

    # ------------------------------------------------------------------------------------------------------ telling

    def begin(self) -> None:
        """Make the places where the person is told things; called once, when the page is built."""
        self._bar = ui.element("div").classes("told").props('role="status" aria-live="polite"')
        self.session.listeners.add(self.over)
        self.client.on_delete(lambda: self.session.listeners.discard(self.over))
        self.client.on_exception(self.fault)
        background_tasks.create(self._until_the_end(), name="session end")

    def tell(self, text: str, undo: Undo | None = None, kind: str = "info") -> None:
        """Say something at the foot of the page, with a button that undoes it; a later message takes its place."""
        if self._bar is None or self.client.is_deleted:
            return
        self._is_kept = self._is_leaving
        self._bar.clear()
        with self._bar, ui.element("div").classes(f"told-box told-{kind}"):
            ui.icon({"error": "error_outline", "done": "check_circle"}.get(kind, "info")).props('aria-hidden="true"')
            ui.label(text).classes("told-text")
            if undo is not None:
                ui.button("Undo", on_click=self.act(self._undoing(undo))).props("flat dense no-caps")
            close = ui.button(icon="close", on_click=self.quiet).props("flat dense round")
            close.props["aria-label"] = "Dismiss"

    def done(self, text: str, undo: Undo | None = None) -> None:
        self.tell(text, undo, "done")

    def quiet(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def fault(self, error: Exception) -> None:
        """Tell what went wrong: an answer of the API in its own words, anything else by a number that the log has."""
        match error:
            case SessionEnded():
                self._sessions.close(self.session)
                self.over()
            case Failure():
                self.tell(explained(error), kind="error")
            case RpcError():
                self.tell(error.message, kind="error")
            case _:
                number = f"{time.time_ns():x}"
                log.error("fault", number=number, exc_info=error)
                self.tell(f"Something went wrong in the console (number {number} in its log).", kind="error")

    # ------------------------------------------------------------------------------------------------------ handlers

    def act(self, work: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        """A handler of an event that does `work` and tells what went wrong."""

        @wraps(work)  # NiceGUI looks at the signature to know whether to pass the event
        async def handler(*arguments: Any) -> None:
            try:
                result = work(*arguments)
                if asyncio.iscoroutine(result) or isinstance(result, asyncio.Future):
                    await result
            except Exception as error:  # noqa: BLE001 - the last resort of a click: `fault` logs what nobody foresaw
                self.fault(error)

        return handler

    def later(self, work: Coroutine[Any, Any, Any], where: ui.element) -> None:
        """Do work beside the page's building, its elements made in `where`."""

        async def doing() -> None:
            with suppress(asyncio.CancelledError):
                try:
                    with where:
                        await work
                except Exception as error:  # noqa: BLE001 - as in `act`
                    if not where.is_deleted:
                        self.fault(error)

        background_tasks.create(doing(), name="page")

    def go(self, path: str) -> None:
        """Another page of the console, with the browser's own history."""
        self._is_leaving = True
        with self.client:
            ui.navigate.to(path)

    def arrive(self) -> None:
        """On a page: what was said on the last one goes, unless it was said on the way."""
        if not self._is_kept:
            self.quiet()
        self._is_leaving = self._is_kept = False

    def replace_address(self, path: str) -> None:
        """Say in the address what is in sight, without a step in the history."""
        self.client.sub_pages_router.current_path = path
        self.client.run_javascript(f"history.replaceState({{page: {json.dumps(path)}}}, '', {json.dumps(path)})")

    def _undoing(self, undo: Undo) -> Callable[[], Awaitable[None]]:
        async def undoing() -> None:
            self.quiet()
            await undo()

        return undoing

    # ------------------------------------------------------------------------------------------------------- the end

    def over(self) -> None:
        """Say that the session is over, above a page that keeps what was typed into it."""
        if self._is_over or self.client.is_deleted:
            return
        self._is_over = True
        target = self.client.sub_pages_router.current_path
        with self.client.content, ui.dialog(value=True).props("persistent") as dialog, ui.card().classes("card"):
            dialog.props["aria-label"] = "Your session has ended"
            ui.label("Your session has ended").classes("title-3")
            ui.label("Nothing more is sent. What you typed is still behind this box, to be copied.")
            with ui.row().classes("actions"):
                ui.button("Look at the page", on_click=dialog.close).props("flat no-caps")
                address = json.dumps(sign_in_address(target))
                again = ui.button("Sign in again").props("unelevated no-caps color=brand text-color=on-brand")
                again.on("click", js_handler=f"() => location.assign({address})")

    async def _until_the_end(self) -> None:
        while not self.client.is_deleted and not self._is_over:
            left = self.session.expires - time.time()
            if left <= 0:
                self._sessions.close(self.session)
                self.over()
                return
            await asyncio.sleep(min(left + 0.1, 30))


def explained(failure: Failure) -> str:
    """A failure in a sentence or two."""
    fields = [f"{field}: {what}" for field, what in failure.fields if what != failure.message]
    return " ".join([failure.message, *fields])
