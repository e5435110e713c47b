"""Fixtures of the tests of many images."""

import pytest
from tests.client.bulk.many_images import EitherClient


@pytest.fixture(params=["sync", "asyncio"])
def run(request, stub) -> EitherClient:
    return EitherClient(request.param, stub.target)
