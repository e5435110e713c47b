"""The page is for everybody: with a screen reader, with a keyboard, on a telephone; and it keeps nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.browser.console_page import ConsolePage
from tests.programs import AXE

pytestmark = pytest.mark.needs(program="playwright")
Open = Callable[..., ConsolePage]
LOOKS = [(width, scheme) for width in (360, 768, 1440) for scheme in ("light", "dark")]
_OFTEN = {(360, "light"), (1440, "dark")}


def violations(console: ConsolePage) -> list[dict[str, Any]]:
    """Returns what axe-core finds, without the parts that do not help."""
    console.page.evaluate(AXE.read_text(encoding="utf-8"))
    # Bars that still grow would be judged by the colours of a moment.
    console.page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)))")
    found = console.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [{"rule": each["id"], "at": [node["html"] for node in each["nodes"]]} for each in found]


@pytest.mark.parametrize(
    ("width", "scheme"),
    [pytest.param(*look, marks=() if look in _OFTEN else pytest.mark.release) for look in LOOKS],
)
def test_axe_finds_nothing_and_the_page_never_scrolls_sideways(
    open_console: Open, console_url: str, pictures: Path, width: int, scheme: str
) -> None:
    console = open_console(console_url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert violations(console) == []
    console.pick(pictures / "coffee.jpg", pictures / "digits" / "7.png")
    console.find("#other-target").select_option(label="lenet")
    console.expect("#summary").to_have_text("2 pictures, 4 answers.")
    console.find("#make-map").click()
    console.expect("#map").to_be_visible()
    console.find(".as-table summary").click()
    console.expect("#figures th").not_to_have_count(0)
    assert violations(console) == []
    console.find("#tab-grpcurl").click()
    assert console.page.evaluate("document.documentElement.scrollWidth") == width
    console.find("[aria-label='Unload lenet']").click()
    assert violations(console) == []


def test_everything_can_be_reached_and_done_with_the_keyboard(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.pick(pictures / "coffee.jpg", pictures / "camera.jpg")
    reached = list[str]()
    for _ in range(40):
        console.page.keyboard.press("Tab")
        reached.append(console.page.evaluate("(({ id, className }) => id || className)(document.activeElement)"))
    wanted = ["skip", "target", "other-target", "pick", "clear", "make-map", "grid", "card", "tab-curl", "admin-token"]
    assert [each for each in dict.fromkeys(reached) if each in wanted] == wanted
    console.find(".card").nth(1).focus()
    console.page.keyboard.press("Enter")
    console.expect("#picture-name").to_have_text("camera.jpg")


def test_the_page_keeps_nothing(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url)
    console.pick(pictures / "coffee.jpg")
    console.find("#admin-token").fill("a-token")
    kept = "JSON.stringify([document.cookie, localStorage.length, sessionStorage.length])"
    assert json.loads(console.page.evaluate(kept)) == ["", 0, 0]
    assert console.page.evaluate("indexedDB.databases().then((found) => found.length)") == 0
    console.page.reload()
    assert console.find("#admin-token").input_value() == ""
