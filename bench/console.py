"""How fast the console's pages load, beside a bare page of the same toolkit: `python -m bench.console` prints a table.

Each round opens each page in a new browser context (cold) and reloads it (warm), the pages in turn; then it clicks: on
the bare page's button, which makes a label, and on Add in the Permissions tab. Medians are told. Needs Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.console.conftest import ARGUMENTS
from tests.console.people import ConsoleServer, fill
from tests.harness import PROJECT

ROUNDS = 5
_PORT = 18_473
_BARE = f"""
from nicegui import ui
@ui.page("/")
def page():
    ui.table(columns=[{{"name": "a", "label": "A", "field": "a"}}], rows=[{{"a": "seen"}}], row_key="a")
    ui.button("Add", on_click=lambda: ui.label("made").classes("made"))
ui.run(port={_PORT}, reload=False, show=False, show_welcome_message=False)
"""


_ABOUT = """## The console

Medians of five rounds in headless Chromium, which shares the machine's cores with the servers, beside a bare page of
the same toolkit. Cold is a browser with an empty cache. A page is there when its data is.
"""


def main() -> None:
    chromium = shutil.which("chromium")
    assert chromium, "the bench needs Chromium: python -m tests.needs installs it"
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        server = ConsoleServer(Path(scratch) / "data", settings={"MLGATE_CONSOLE_PORT": "0"}).initialize().start()
        script = Path(scratch) / "bare.py"
        script.write_text(_BARE)
        bare = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            fill(server)
            browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
            _measure(browser, server)
            browser.close()
        finally:
            bare.terminate()
            bare.wait()
            server.close()


def _measure(browser: Browser, server: ConsoleServer) -> None:
    state = _signed_in(browser, server)
    base = f"{server.console}/projects/{PROJECT}"
    pages = {
        "bare NiceGUI page with a table": (f"http://localhost:{_PORT}/", "text=seen"),
        "models": (f"{base}/models", "a:has-text('cancer')"),
        "models, permissions open": (f"{base}/models?selected=cancer&panel=permissions", "[data-member]"),
        "a study's progress": (f"{base}/locations/us-central1/studies/tuning", "text=Best so far"),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pages}
    clicks: dict[str, list[tuple[float, float]]] = {"bare NiceGUI page": [], "sharing a model": []}
    for number in range(ROUNDS):
        for name, (url, seen) in pages.items():
            context = browser.new_context(storage_state=state)
            page = context.new_page()
            page.set_default_timeout(60_000)
            cold = _timed(lambda u=url, s=seen, p=page: (p.goto(u), p.locator(s).first.wait_for()))  # type: ignore[misc]
            warm = _timed(lambda s=seen, p=page: (p.reload(), p.locator(s).first.wait_for()))  # type: ignore[misc]
            times[name].append((cold, warm))
            if "bare" in name:
                clicks["bare NiceGUI page"].append(_clicked(page, ".made", ".made"))
            elif "permissions" in name:
                member = f"user:guest{number}@example.com"
                page.get_by_label("Add members").fill(member)
                row = f'[data-member="{member}"]'
                clicks["sharing a model"].append(_clicked(page, row, f"{row}:not(.member-new)"))
            context.close()
    print(_ABOUT)
    _print(("page", "cold, s", "warm, s"), times, ".2f")
    print()
    _print(("a click", "shown, ms", "confirmed by the server, ms"), clicks, ".0f")


def _clicked(page: Page, shown: str, confirmed: str) -> tuple[float, float]:
    """Milliseconds from a click on Add until the page shows it, and until it shows what the server said."""
    times = page.evaluate(_CLICK, [shown, confirmed])
    return times[0], times[1]


_CLICK = """selectors => new Promise(done => {
  const times = [], began = performance.now();
  new MutationObserver((_, watch) => {
    while (times.length < selectors.length && document.querySelector(selectors[times.length]))
      times.push(performance.now() - began);
    if (times.length == selectors.length) { watch.disconnect(); done(times); }
  }).observe(document.body, {subtree: true, childList: true, attributes: true});
  [...document.querySelectorAll("button")].find(button => button.textContent.trim() == "Add").click();
})"""


def _print(head: tuple[str, str, str], found: dict[str, list[tuple[float, float]]], form: str) -> None:
    print(f"| {' | '.join(head)} |\n| --- | --: | --: |")
    for name, pairs in found.items():
        first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {first:{form}} | {second:{form}} |")


def _signed_in(browser: Browser, server: ConsoleServer) -> dict:  # type: ignore[type-arg]
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.login_link(server.owner))
    page.wait_for_url("**/models")
    state = context.storage_state()
    context.close()
    return dict(state)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
