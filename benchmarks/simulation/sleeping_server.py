"""A real server whose model sleeps instead of computing, so that several of them fit onto a few cores.

    .venv/bin/python -m benchmarks.simulation.sleeping_server [options of linnaeus-server]

All but the run of a batch is the server's own: calls, decoding, admission, batching. Warm-up measures the sleep like
any model's run. Only for a TorchScript model and these options: what runs the model is replaced in the one process.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from linnaeus.server.rpc.child_server import ServerProcess

# What a batch takes; between these sizes in proportion. About a small network on two cores.
SLEEP_SECONDS = {1: 0.020, 2: 0.026, 4: 0.038, 8: 0.062}
OPTIONS = (
    *("--front-ends", "0", "--http-port", "-1", "--streams", "1"),
    *("--max-batch-size", str(max(SLEEP_SECONDS))),
)


class SleepingServer(ServerProcess):
    """A `ServerProcess` of this module."""

    def _start(self, arguments: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )


def main() -> None:
    """Runs the server, with a runner that sleeps before each batch."""
    from benchmarks.simulation.replica import SimulatedModel
    from linnaeus.server.cli import main as serve
    from linnaeus.server.runtime.cpu import CpuRunner
    from linnaeus.server.runtime.runner import BatchOutput, Pixels

    model, run = SimulatedModel(SLEEP_SECONDS), CpuRunner.run

    def sleep_and_run(self: CpuRunner, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        time.sleep(model.run_seconds(len(images)))
        return run(self, images, k, want_features)

    CpuRunner.run = sleep_and_run  # type: ignore[method-assign]
    serve()


if __name__ == "__main__":
    main()
