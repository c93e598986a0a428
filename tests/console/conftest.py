"""One server with its console for all tests of a process, and one headless Chromium for those of a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.people import ConsoleServer, fill

#: No sandbox of its own: tests run as root in containers. The rest keeps it from looking for its maker's hosts.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb", "--font-render-hinting=none",
)  # fmt: skip


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleServer]:
    data = tmp_path_factory.mktemp("console") / "data"
    server = ConsoleServer(data, settings={"MLGATE_CONSOLE_PORT": "0", "MLGATE_RUNNER_SLOTS": "0"})
    server.initialize().start()
    fill(server)
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a file and not longer: while Playwright runs, nothing else in the process can run an event loop."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "the console's tests need Chromium: python -m tests.needs installs it"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield made
        made.close()
