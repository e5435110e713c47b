"""Charging of callers: what a call costs of its caller's rate, wherever that is counted. Independent of gRPC."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from linnaeus.server.errors import Overloaded
from linnaeus.server.security.current_caller import current_caller

# Charges the caller of the current call for a number of images; raises Overloaded if it exceeds its rate.
Charge: TypeAlias = Callable[[float], Awaitable[None]]
# Takes a cost from a caller's bucket; see `RateLimiter.take`.
Take: TypeAlias = Callable[[str, float], Awaitable[float]]


async def no_charge(cost: float) -> None:
    """Charges nothing: the `Charge` of a server without a rate limit."""


def charging(rate: float, take: Take) -> Charge:
    """Returns what charges callers.

    Args:
        rate: the images a second of one caller; 0 for no limit.
        take: takes costs from the buckets of all callers of the host.
    """
    if not rate:
        return no_charge

    async def charge(cost: float) -> None:
        if cost <= 0:
            return
        wait_seconds = await take(current_caller().identity, cost)
        if wait_seconds:
            message = f"this caller may ask {rate:g} times a second; ask again in {wait_seconds:.3f} s"
            raise Overloaded(message, wait_seconds)

    return charge
