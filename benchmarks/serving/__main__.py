"""`make bench`: what decoding and serving cost, how batching pays, and what a server takes to run.

Compared things are measured in turns within one run; printed figures are medians over all rounds. The load comes from
this project's own load tester, whose processes share the cores with the server.
"""

import tempfile
from pathlib import Path

from benchmarks.common.images import PHOTOGRAPHS, digits, photographs
from benchmarks.decoding.comparison import bench_decode
from benchmarks.inference.precision import bench_precision
from benchmarks.serving.cpu_overhead import bench_overhead
from benchmarks.serving.startup_and_memory import bench_memory, bench_start
from benchmarks.serving.throughput import bench_model
from linnaeus.server.process.openmp import limit_spinning
from linnaeus.server.rpc.child_server import ServerProcess

REPOSITORY = Path("model-repository")
# Its weights are random: it must not be among the models that `make serve` serves.
EXTRA_REPOSITORY = Path("runs/bench")


def main() -> None:
    """Runs all parts."""
    limit_spinning()  # as the server does: the in-process baseline runs under the same conditions
    bench_decode()
    bench_start(REPOSITORY)
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder))
        with ServerProcess("--repository", str(REPOSITORY)) as server:
            bench_overhead(server, REPOSITORY)
            bench_model("lenet", REPOSITORY, server, digits(), "PNG digits")
            bench_model("efficientnet_lite0", REPOSITORY, server, photos, PHOTOGRAPHS)
            bench_memory(server, {"efficientnet_lite0": photos, "lenet": digits()})
        with ServerProcess("--repository", str(EXTRA_REPOSITORY)) as server:
            bench_model("resnet18", EXTRA_REPOSITORY, server, photos, PHOTOGRAPHS)
    bench_precision()


if __name__ == "__main__":
    main()
