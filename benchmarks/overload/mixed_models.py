"""A small model with tight deadlines beside a large one that is saturated without any."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.common.h2load import LoadResult, closed_loop
from benchmarks.common.report import Finding, at_least, milliseconds, only_told, tell
from benchmarks.overload.environment import HEAVY, LIGHT, Ground, classify_call, server_of
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Silence
from linnaeus.client.load.results import Spell
from linnaeus.client.load.running import run_single

CALLERS = 64
RATE = 20.0
DEADLINE_SECONDS = 0.100
SECONDS, WARMUP_SECONDS = 30.0, 2.0
# Both crowds have to start and end; the large model's callers go on for longer than the small one's.
MARGIN_SECONDS = 8.0
LEAST_SHARE = 0.99


def mixed(ground: Ground) -> list[Finding]:
    """20 digits a second with 100 ms each beside 64 callers that wait as long as it takes."""
    with server_of(f"{LIGHT},{HEAVY}") as server, ThreadPoolExecutor(1) as pool:
        call = classify_call(server.target, HEAVY, ground.photographs, 0)
        saturating = pool.submit(closed_loop, call, CALLERS, WARMUP_SECONDS + SECONDS + MARGIN_SECONDS)
        plan = Plan(
            target=server.target,
            pictures=ground.digits,
            model=LIGHT,
            rate=RATE,
            duration_seconds=SECONDS,
            warmup_seconds=WARMUP_SECONDS,
            deadline_seconds=DEADLINE_SECONDS,
            processes=1,
            metrics_url="",
        )
        spell = run_single(plan, Silence()).spells[0]
        ended = time.monotonic()
        heavy = saturating.result()
    if ended > heavy.calls[-1].ended:
        raise RuntimeError(f"the callers of {HEAVY} left before those of {LIGHT}: give them a longer margin")
    findings = [*_light_findings(spell), _heavy_finding(heavy, ended)]
    tell(f"Mixed load ({SECONDS:g} s)", findings)
    return findings


def _heavy_finding(heavy: LoadResult, ended: float) -> Finding:
    rate = sum(ended - SECONDS <= each.ended < ended for each in heavy.calls) / SECONDS
    return only_told(f"{HEAVY} besides", f"{rate:.1f} images/s, {heavy.failures.total()} failed")


def _light_findings(spell: Spell) -> list[Finding]:
    counts, latency = spell.counts, spell.latency
    told = f"p50 {milliseconds(latency.p50)}, p99 {milliseconds(latency.p99)}; {counts.late} late"
    lag = milliseconds(spell.tester.send_lag_p99)
    return [
        at_least(
            f"{LIGHT} calls answered within {milliseconds(DEADLINE_SECONDS)}", LEAST_SHARE, counts.ok / counts.sent
        ),
        only_told(f"{counts.sent} {LIGHT} calls, 1 % sent later than {lag}", told),
    ]
