"""Tests of `LimitedLog`: one line an interval, which counts what was left out."""

import logging

import pytest

from linnaeus.server.process.limited_log import LimitedLog


def test_one_line_an_interval_tells_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = LimitedLog(logging.getLogger("limited"), logging.WARNING, interval_seconds=10.0, clock=lambda: now)
    for number in range(5):
        log.log("number %d", number)
    assert [record.getMessage() for record in caplog.records] == ["number 0"]
    now = 10.0
    log.log("number %d", 5)
    now = 20.0
    log.log("number %d", 6)
    assert [record.getMessage() for record in caplog.records][1:] == [
        "number 5 (4 more since the last such line)",
        "number 6",
    ]
