"""Closed-loop load on a running server by the project's own load tester."""

from pathlib import Path

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.results import Measurement
from linnaeus.client.load.scenarios import run_single
from linnaeus.server.rpc.child_server import ServerProcess


def measure_closed_loop(
    server: ServerProcess, model: str, images: tuple[Path, ...], callers: int, seconds: float
) -> Measurement:
    """Runs callers who each send the next image as soon as the last one is answered.

    Raises:
        RuntimeError: if a call is not answered, or the server's metrics cannot be read.
    """
    return measure_answered(
        Plan(
            target=server.target,
            pictures=images,
            model=model,
            concurrency=callers,
            duration_seconds=seconds,
            warmup_seconds=0.3,
            processes=1,
            metrics_url=server.metrics_url,
        ),
    )


def measure_answered(plan: Plan) -> Measurement:
    """Runs a plan of which every call must be answered and the server's metrics read.

    Raises:
        RuntimeError: if one is not.
    """
    run = run_single(plan, NoProgress())
    measured = run.measurements[0]
    if measured.server is None or measured.counts.ok != measured.counts.sent:
        load = f"{plan.model}, {plan.rpc}, {plan.concurrency} callers"
        raise RuntimeError(f"{load}: {measured.counts}; {' '.join(run.notes)}")
    return measured


def processor_seconds_per_image(measured: Measurement) -> float:
    """Returns the processor time that the server's process spent on one image."""
    spent = measured.server.processor_seconds if measured.server else None
    return (spent or 0.0) / measured.counts.sent
