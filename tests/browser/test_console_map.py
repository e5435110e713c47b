"""The map of where a model looked is brighter on the object than beside it, and costs few requests of low priority."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.browser.console_page import ConsolePage

pytestmark = pytest.mark.needs(program="playwright")
Open = Callable[..., ConsolePage]
# The mean brightness, from 0 to 255, of what a box of the map adds to the picture; the box in parts of the picture.
BRIGHTNESS = """([left, top, right, bottom]) => {
  const map = document.getElementById("map");
  const copy = Object.assign(document.createElement("canvas"), { width: map.width, height: map.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(map, 0, 0);
  const [x, y] = [Math.round(left * map.width), Math.round(top * map.height)];
  const [width, height] = [Math.round((right - left) * map.width), Math.round((bottom - top) * map.height)];
  const { data } = context.getImageData(x, y, width, height);
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) sum += (data[at] + data[at + 1] + data[at + 2]) / 3;
  return sum / (data.length / 4);
}"""
# Left, top, right, bottom of the object, and of a part of the picture without it.
OBJECTS = {
    "coffee.jpg": ((0.3, 0.05, 0.65, 0.5), (0.0, 0.55, 0.2, 1.0)),  # the cup; the table
    "camera.jpg": ((0.5, 0.25, 0.7, 0.9), (0.75, 0.0, 1.0, 0.25)),  # camera and tripod; the sky
}


@pytest.mark.parametrize(("name", "covers"), [("coffee.jpg", 49), ("camera.jpg", 100)])
def test_the_map_is_brighter_on_the_object_than_beside_it(
    open_console: Open, console_url: str, pictures: Path, name: str, covers: int
) -> None:
    console = open_console(console_url)
    console.drop(pictures / name)
    console.find("#grid").select_option(label=f"{covers} covers")
    console.find("#make-map").click()
    console.expect("#map").to_be_visible()
    on_object, beside = (console.page.evaluate(BRIGHTNESS, box) for box in OBJECTS[name])
    assert on_object > beside + 25, (on_object, beside)
    assert console.text("#map-words").startswith("Covering the brightest place, ")


def test_all_covered_copies_are_one_request_of_low_priority(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.drop(pictures / "coffee.jpg")
    before = len(console.requests)
    console.find("#make-map").click()
    console.expect("#map").to_be_visible()
    (sent,) = [request for request in console.requests[before:] if ":classify" in request]
    assert "/v1/models/efficientnet_lite0/versions/1:classify?" in sent and "priority=low" in sent


def test_the_slider_sets_the_strength_of_the_map(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url)
    console.drop(pictures / "coffee.jpg")
    console.expect("#strength").to_be_hidden()
    console.find("#make-map").click()
    console.find("#strength").fill("40")
    console.expect("#map").to_have_css("opacity", "0.4")
    console.find("#strength").press("Home")
    console.expect("#map").to_have_css("opacity", "0")


def test_a_map_stays_with_its_picture(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url)
    console.pick(pictures / "coffee.jpg", pictures / "camera.jpg")
    console.find("#make-map").click()
    console.expect("#map").to_be_visible()
    console.find(".card").nth(1).click()
    console.expect("#map").to_be_hidden()
    console.find(".card").nth(0).click()
    console.expect("#map").to_be_visible()
