"""The page of the HTTP interface shows all that /openapi.json says, to everybody."""

import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.programs import AXE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.needs(program="playwright")


@pytest.fixture(params=[(360, "light"), (1440, "dark")], ids=["narrow and light", "wide and dark"])
def page(request: pytest.FixtureRequest, browser: "Browser", console_url: str) -> "Iterator[Page]":
    """The page, without an error of its own and without a request to elsewhere."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened, errors, requests = context.new_page(), list[str](), list[str]()
    opened.on("console", lambda message: errors.append(message.text))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda asked: requests.append(asked.url))
    opened.goto(f"{console_url}docs")
    opened.wait_for_selector("details.entry")
    yield opened
    context.close()
    assert errors == [] and all(each.startswith(console_url) for each in requests)


def test_the_page_has_every_request_and_every_message(page: "Page", console_url: str) -> None:
    with urllib.request.urlopen(f"{console_url}openapi.json", timeout=60) as answer:
        document = json.load(answer)
    requests = [f"{method.upper()} {path}" for path, methods in sorted(document["paths"].items()) for method in methods]
    shown = page.locator("summary:has(.method)").all()
    assert sorted(" ".join(each.inner_text().split()[:2]) for each in shown) == sorted(requests)
    for name in document["components"]["schemas"]:
        assert page.locator(f"#message-{name}").count() == 1


def test_an_entry_opens_by_the_keyboard_and_links_to_the_messages_that_it_takes(page: "Page") -> None:
    entry = page.locator("#operation-classify")
    entry.locator("summary").focus()
    page.keyboard.press("Enter")
    assert (
        page.locator("#operation-classify[open] pre").inner_text().startswith("curl --data-binary @cat.jpg http://127")
    )
    entry.get_by_role("link", name="ClassifyRequest").click()
    page.wait_for_selector("#message-ClassifyRequest[open] th:has-text('top_k')")


def test_axe_finds_nothing_and_the_page_never_scrolls_sideways(page: "Page") -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"][:3]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
