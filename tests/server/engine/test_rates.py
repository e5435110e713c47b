"""The rate of a caller is counted by the core, in the same process and across the link."""

from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import frozen

from linnaeus.server.errors import Overloaded
from linnaeus.server.security.charging import Charge, charging
from linnaeus.server.security.current_caller import Caller, set_current_caller

pytestmark = pytest.mark.usefixtures("both_links")
LIMIT = {"rate_limit": 0.5, "rate_burst": 4}


def charge_of(engine: Any) -> Charge:
    """Returns what the services of an engine charge with."""
    return charging(LIMIT["rate_limit"], getattr(engine, "remote", engine.core).charge)


def call_by(name: str) -> None:
    set_current_caller(Caller(name, name))


async def test_a_caller_above_its_rate_is_told_the_rate_and_the_wait_and_others_are_not(
    repository: Path, observer: Any
) -> None:
    async with frozen(repository, observer, **LIMIT) as engine:
        charge = charge_of(engine)
        call_by("greedy")
        await charge(1)
        await charge(3)
        with pytest.raises(Overloaded, match=r"may ask 0\.5 times a second; ask again in 2\.000 s") as refused:
            await charge(1)
        assert refused.value.retry_after_seconds == 2.0
        call_by("other")
        await charge(4)


async def test_a_refusal_costs_nothing_and_a_call_of_one_image_no_further_one(repository: Path, observer: Any) -> None:
    async with frozen(repository, observer, **LIMIT) as engine:
        charge = charge_of(engine)
        call_by("caller")
        await charge(2)
        with pytest.raises(Overloaded):
            await charge(3)
        await charge(0)
        await charge(2)


async def test_more_than_the_burst_is_admitted_with_a_full_bucket_only(repository: Path, observer: Any) -> None:
    async with frozen(repository, observer, **LIMIT) as engine:
        charge = charge_of(engine)
        call_by("large")
        await charge(9)
        with pytest.raises(Overloaded) as refused:
            await charge(1)
        assert refused.value.retry_after_seconds == 2 * (9 - 4 + 1), "the bucket is in debt"
        call_by("small before")
        await charge(1)
        with pytest.raises(Overloaded):
            await charge(9)
