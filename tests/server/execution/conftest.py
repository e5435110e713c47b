"""The worker harness as a fixture."""

from collections.abc import Iterator

import pytest
from tests.server.execution.worker_harness import WorkerHarness


@pytest.fixture(params=[False])
def device(request: pytest.FixtureRequest) -> Iterator[WorkerHarness]:
    """A device whose runs are not short, unless a test asks for it by `indirect` parameters."""
    made = WorkerHarness(request.param)
    yield made
    try:
        made.finish()
    finally:
        made.loop.close()
