"""The row of tabs of a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from nicegui import ui

from mlgate.cli.failure import Failure
from mlgate.console import parts
from mlgate.console.visit import Visit


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
