"""Why calls were not ok: added up over the steps, and explained where the server cannot know of them."""

from dataclasses import replace

import pytest

from linnaeus.client.load.report.failures import failures_of, reset_sentence
from linnaeus.client.load.report.run_page import run_page
from linnaeus.client.load.results import FailureReason

RESET = FailureReason("UNAVAILABLE", 4558, "Received RST_STREAM with error code 7")
FULL = FailureReason("RESOURCE_EXHAUSTED", 104, "the queue <is> full")


@pytest.fixture
def run(make_measurement, make_run):
    steps = [replace(make_measurement(rate=rate), failures=(FULL, RESET)) for rate in (100.0, 200.0)]
    return make_run(*steps, knee=100.0)


def test_the_steps_add_up_the_most_frequent_first(run):
    assert [(each.code, each.calls) for each in failures_of(run)] == [
        ("UNAVAILABLE", 9116),
        ("RESOURCE_EXHAUSTED", 208),
    ]


def test_calls_that_grpc_reset_are_counted_and_explained(run, make_run, make_measurement):
    assert reset_sentence(run).startswith("gRPC reset 9,116 calls at the server, which neither saw nor counted them")
    assert "--connections" in reset_sentence(run)
    assert reset_sentence(make_run(replace(make_measurement(), failures=(FULL,)))) == ""


def test_the_page_has_every_reason(run):
    page = run_page(run)
    assert "Why calls were not ok" in page and "208" in page and "the queue &lt;is&gt; full" in page
    assert reset_sentence(run) in page


def test_a_run_without_failures_says_nothing_of_them(make_run, make_measurement):
    assert "Why calls were not ok" not in run_page(make_run(make_measurement()))
