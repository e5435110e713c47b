"""Fixtures of the engine's tests."""

from collections.abc import Iterator

import pytest
from tests.server.engine.engine_fakes import ENGINES, link


@pytest.fixture(params=ENGINES)
def both_links(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test with each implementation of the link between an engine and its core."""
    token = link.set(request.param)
    yield
    link.reset(token)
