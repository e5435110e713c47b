"""A spell of load on a running server, by the project's own tester."""

from pathlib import Path

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Silence
from linnaeus.client.load.results import Spell
from linnaeus.client.load.running import run_single
from linnaeus.server.rpc.child_server import ServerProcess


def under_load(server: ServerProcess, model: str, pictures: tuple[Path, ...], callers: int, seconds: float) -> Spell:
    """Runs so many callers, each sending its next picture once it has its answer.

    Raises:
        RuntimeError: a call was not answered, or the server's metrics could not be read.
    """
    plan = Plan(
        target=server.target,
        pictures=pictures,
        model=model,
        concurrency=callers,
        duration_seconds=seconds,
        warmup_seconds=0.3,
        processes=1,
        metrics_url=server.metrics_url,
    )
    run = run_single(plan, Silence())
    spell = run.spells[0]
    if spell.server is None or spell.counts.ok != spell.counts.sent:
        raise RuntimeError(f"{model} under {callers} callers: {spell.counts}; {' '.join(run.notes)}")
    return spell


def processor_seconds_per_call(spell: Spell) -> float:
    """What the server's process spent for one call."""
    spent = spell.server.processor_seconds if spell.server else None
    return (spent or 0.0) / spell.counts.sent
