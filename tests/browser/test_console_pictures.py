"""Pictures come into the console in every way, and each has its answer or a sentence that says why not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.browser.console_page import ConsolePage

pytestmark = pytest.mark.needs(program="playwright")
Open = Callable[..., ConsolePage]
MARKUP = '<img src=x onerror="document.title=1">.jpg'


def test_a_dropped_picture_has_its_right_label_first(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url)
    console.drop(pictures / "coffee.jpg")
    assert console.labels() == ["espresso"]
    assert re.match(r"espresso 9\d\.\d %$", console.text(".headline"))
    assert console.find(".answer .bar").count() == 5
    first, *others = (float(each.rstrip("% \u00a0")) for each in console.find(".bar-percent").all_inner_texts()[:5])
    assert first > 90 and others == sorted(others, reverse=True)


def test_the_time_by_stage_adds_up_to_what_the_browser_saw(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.drop(pictures / "coffee.jpg")
    stages = dict(zip(*(console.find(f".stage-list {each}").all_inner_texts() for each in ("dt", "dd")), strict=True))
    assert list(stages) == ["decode", "queue", "inference", "network and rest"]
    total = milliseconds(console.text(".stages-title strong"))
    assert sum(map(milliseconds, stages.values())) == pytest.approx(total, rel=0.02)
    assert "a batch of its own" in console.text(".stages-title")


def milliseconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"ms": 1, "s": 1000}[unit]


def test_a_pasted_picture_and_a_picked_one_join_those_that_are_there(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.paste(pictures / "coffee.jpg")
    console.pick(pictures / "camera.jpg", pictures / "chelsea.jpg")
    console.expect("#summary").to_have_text("3 pictures, 3 answers.")
    captions = console.find(".card-caption").all_inner_texts()
    assert [caption.rpartition(" ")[0] for caption in captions] == ["espresso", "tripod", "Egyptian cat"]
    console.find(".card").nth(0).click()
    assert console.labels() == ["espresso"]
    console.find("#clear").click()
    console.expect(".card").to_have_count(0)
    console.expect("#stage").to_be_hidden()


def test_two_models_answer_side_by_side(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url, viewport={"width": 1440, "height": 900})
    console.drop(pictures / "digits" / "7.png")
    console.find("#other-target").select_option(label="lenet")
    console.expect("#summary").to_have_text("1 picture, 2 answers.")
    assert console.find(".target-name").all_inner_texts() == ["efficientnet_lite0", "lenet"]
    assert console.labels()[1] == "7"
    assert console.text("#agreement").startswith("They differ: ") and console.text("#agreement").endswith(", and 7.")
    left, right = (each.bounding_box() for each in console.find(".answer").all())
    assert left and right and left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]


def test_what_is_no_picture_has_the_servers_sentence_and_harms_no_other(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.pick_content([("notes.jpg", b"no picture"), ("coffee.jpg", (pictures / "coffee.jpg").read_bytes())])
    console.expect("#summary").to_have_text("2 pictures, 1 answer, 1 could not be answered.")
    assert "JPEG" in console.text(".answer .error")
    console.find(".card").nth(1).click()
    assert console.labels() == ["espresso"]


def test_a_file_that_is_too_large_is_not_sent(open_console: Open, console_url: str) -> None:
    console = open_console(console_url)
    console.pick_content([("large.jpg", bytes(5 << 20))])
    assert console.text(".answer .error") == ("The file has 5.0 MiB; this server takes at most 4.0 MiB in a request.")
    assert not [request for request in console.requests if ":classify" in request]


@pytest.mark.parametrize(("refusals", "shown"), [(1, ["espresso"]), (2, [])])
def test_a_refusal_that_says_when_to_come_again_is_followed_once(
    open_console: Open, console_url: str, pictures: Path, refusals: int, shown: list[str]
) -> None:
    console = open_console(console_url)
    left = [refusals]

    def refuse_at_first(route: Any) -> None:  # as a proxy between the page and the server may
        left[0] -= 1
        if left[0] < 0:
            return route.continue_()
        problem = json.dumps({"detail": "Too many at once."})
        route.fulfill(status=429, headers={"Retry-After": "0.2"}, content_type="application/problem+json", body=problem)

    console.page.route("**/*:classify*", refuse_at_first)
    console.drop(pictures / "coffee.jpg")
    assert console.labels() == shown
    assert console.find(".answer .error").all_inner_texts() == ([] if shown else ["Too many at once."])
    console.close_after("status of 429")


def test_a_file_name_is_never_taken_for_markup(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url)
    console.pick_content([(MARKUP, (pictures / "coffee.jpg").read_bytes())] * 2)
    assert console.text("#picture-name") == MARKUP
    assert MARKUP in console.text("#call-curl")
    assert console.find("main img").count() == 1 and console.page.title() == "Linnaeus"


def test_a_hundred_pictures_are_answered_in_a_few_requests(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url)
    console.find("#target").select_option(label="lenet")
    digits = sorted((pictures / "digits").glob("*.png"))
    console.pick(*[digits[number % len(digits)] for number in range(100)])
    console.expect("#summary").to_have_text("100 pictures, 100 answers.")
    captions = console.find(".card-caption").all_inner_texts()
    assert [caption.split()[0] for caption in captions] == [digits[n % len(digits)].stem for n in range(100)]
    assert len([request for request in console.requests if ":classify" in request]) == 7  # of at most 16 files


def test_the_calls_name_the_picture_the_model_and_the_server(
    open_console: Open, console_url: str, pictures: Path
) -> None:
    console = open_console(console_url, permissions=["clipboard-read", "clipboard-write"])
    console.drop(pictures / "coffee.jpg")
    url = f"{console_url}v1/models/efficientnet_lite0:classify?top_k=5"
    assert console.text("#call-curl") == f"curl --data-binary @coffee.jpg \\\n  '{url}'"
    console.find("#tab-curl").press("ArrowRight")
    compile(console.text("#call-python"), "call", "exec")
    console.find("[data-copy=call-python]").click()
    console.expect(".copied").to_have_text("Copied")
    assert console.page.evaluate("navigator.clipboard.readText()") == console.text("#call-python")
    console.find("#tab-python").press("ArrowRight")
    assert '"model": "efficientnet_lite0"' in console.text("#call-grpcurl")
