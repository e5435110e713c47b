"""The worker harness as a fixture."""

from collections.abc import Iterator

import pytest
from tests.server.execution.worker_harness import WorkerHarness


@pytest.fixture
def device() -> Iterator[WorkerHarness]:
    made = WorkerHarness()
    yield made
    try:
        made.finish()
    finally:
        made.loop.close()
