"""Asynchronous tests run on the event loop of the server, and on asyncio's, which it has where there is no uvloop."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop


def _uvloop_that_ends_hung_tests() -> asyncio.AbstractEventLoop:
    """Returns a loop that the time limit of a test ends: uvloop logs what a signal's handler raises, and goes on."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        if isinstance(context.get("exception"), pytest.fail.Exception):
            loop.stop()

    loop = uvloop.new_event_loop()
    loop.set_exception_handler(handle)
    return loop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": _uvloop_that_ends_hung_tests, "asyncio": asyncio.new_event_loop}
