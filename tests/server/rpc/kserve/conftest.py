"""Fixtures of the tests of GRPCInferenceService."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.server.rpc.kserve.served_inference import Served, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(repository: Path) -> AsyncIterator[Served]:
    """For tests that leave it as they found it."""
    async with serving(repository) as both_services:
        yield both_services


@pytest.fixture
def digits(pictures: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]
