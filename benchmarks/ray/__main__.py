"""`make bench-ray`: what a second replica on Ray Serve adds, and what Ray's gRPC proxy costs.

    .venv/bin/python -m benchmarks.ray [--rounds 5] [--seconds 5]

The model sleeps instead of computing, so that the replicas do not share cores. A server of ours without Ray serves the
same models. Measured in turns: the throughput of 16 callers with one replica and with two, and the latency of one
caller at Ray and at the server. A round with a call that failed ends the run.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common.images import digits
from benchmarks.common.ray_serve import PROGRAMS, RayServe
from benchmarks.common.sleeping_model import write_sleeping_model
from benchmarks.common.sleeping_server import SleepingServer
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.results import Measurement
from linnaeus.client.load.scenarios import run_single

CALLERS = 16
ASLEEP, AWAKE = "asleep", "awake"
SLEEP_SECONDS = 0.05
# Of the server without Ray, as of a replica.
OPTIONS = ("--front-ends", "0", "--streams", "1")


def main() -> int:
    """Returns 0 even if Ray is missing: then there is nothing to measure."""
    options = _options()
    if not (PROGRAMS / "serve").exists():
        print("skipped: Ray Serve is not installed (make test-setup)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        repository = Path(name)
        write_sleeping_model(repository, ASLEEP, SLEEP_SECONDS)
        write_sleeping_model(repository, AWAKE, 0.0)
        compare(repository, options.rounds, options.seconds)
    return 0


def compare(repository: Path, rounds: int, seconds: float) -> None:
    """Measures in turns, and prints the medians."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    latencies: dict[str, list[float]] = {"server": [], "Ray": []}
    with SleepingServer("--repository", str(repository), *OPTIONS) as server, RayServe(config(repository, 1)) as ray:
        for number in range(rounds):
            for replicas in (1, 2) if number % 2 == 0 else (2, 1):
                scale(ray, repository, replicas)
                rates[replicas].append(measure(ray.target, ASLEEP, CALLERS, seconds).counts.ok / seconds)
            for name, target in (("server", server.target), ("Ray", ray.target)):
                latencies[name].append(measure(target, AWAKE, 1, seconds).latency.p50)
    print(f"{CALLERS} callers, a model that sleeps {1e3 * SLEEP_SECONDS:.0f} ms; medians of {rounds} rounds in turns")
    for replicas, measured in rates.items():
        print(f"  {replicas} replica{'s' * (replicas > 1)}: {statistics.median(measured):6.1f} answers a second")
    gains = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(f"  two against one: {statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})")
    print("One caller, a model that does nothing; medians of the rounds' p50")
    for name, measured in latencies.items():
        print(f"  {name:6}: {1e3 * statistics.median(measured):6.2f} ms")
    added = [ray - own for own, ray in zip(latencies["server"], latencies["Ray"], strict=True)]
    print(f"  added: {1e3 * statistics.median(added):.2f} ms ({1e3 * min(added):.2f} to {1e3 * max(added):.2f})")


def measure(target: str, model: str, callers: int, seconds: float) -> Measurement:
    """Measures callers who each send the next image as soon as the last one is answered.

    Raises:
        RuntimeError: if a call is not answered.
    """
    plan = Plan(
        target=target,
        pictures=digits(),
        model=model,
        concurrency=callers,
        duration_seconds=seconds,
        warmup_seconds=1.0,
        processes=1,
        metrics_url="",
    )
    (measured,) = run_single(plan, NoProgress()).measurements
    if measured.counts.ok != measured.counts.sent:
        raise RuntimeError(f"{target}, {model}, {callers} callers: {measured.counts}")
    return measured


def config(repository: Path, replicas: int) -> dict[str, Any]:
    """Returns the configuration of an application with so many replicas."""
    deployment = {"name": "linnaeus", "num_replicas": replicas, "ray_actor_options": {"num_cpus": 0.1}}
    deployment["logging_config"] = {"enable_access_log": False}
    arguments = {"repository": str(repository), "streams": 1, "metrics_port": 0}
    application = {"name": "linnaeus", "import_path": "benchmarks.ray.sleeping_app:app", "args": arguments}
    return {
        "grpc_options": {"grpc_servicer_functions": ["linnaeus.ray.grpc_proxy:add_services"]},
        "applications": [{**application, "deployments": [deployment]}],
    }


def scale(ray: RayServe, repository: Path, replicas: int) -> None:
    """Changes the number of replicas, and waits until as many are ready."""
    if len(ray.replicas()) != replicas:
        ray.deploy(config(repository, replicas))
        ray.wait_until(lambda: ray.running_replicas() == len(ray.replicas()) == replicas)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.ray", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement; default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
