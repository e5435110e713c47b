"""A server with its console, and Chromium, whose pages are watched for errors and for requests to elsewhere."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser.console_page import ConsolePage, console_of
from tests.e2e.forked_server import ForkedServer, close_forks
from tests.programs import PLAYWRIGHT_PACKAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session", autouse=True)
def ended_forks() -> Iterator[None]:
    """Ends the process that forks servers after the last test."""
    yield
    close_forks()


@pytest.fixture(scope="session")
def console_url(repository: Path) -> Iterator[str]:
    """The console of a server that tests do not change, and that takes 4 MiB in a request."""
    options = ("--http-port", "0", "--max-message-bytes", str(4 << 20))
    with ForkedServer("--repository", str(repository), *options) as server:
        yield console_of(server)


# Of a module: while Playwright runs, no test of this process can have an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, as Debian has it."""
    sys.path.append(str(PLAYWRIGHT_PACKAGES))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_console(browser: "Browser") -> Iterator[Callable[..., ConsolePage]]:
    """Returns a function that opens the console at a URL, and waits for a selector; no page may have had an error."""
    opened = list[ConsolePage]()

    def open_page(url: str, until: str = "#target option", **options: Any) -> ConsolePage:
        opened.append(ConsolePage(browser.new_context(**options), url, until))
        return opened[-1]

    yield open_page
    for each in opened:
        each.close()
    for each in opened:
        assert each.errors == []
        assert {request for request in each.requests if not request.startswith((each.url, "blob:", "data:"))} == set()
