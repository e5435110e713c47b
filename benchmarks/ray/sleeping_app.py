"""`linnaeus.ray:app` with replicas that can load a model which sleeps. Runs in Ray's environment."""

from typing import Any

from linnaeus.ray.application import deployment
from linnaeus.ray.replica import Replica


class SleepingReplica(Replica):
    """A replica with the operator of `sleeping_model`."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        import benchmarks.common.sleeping_model  # noqa: F401  # registers it, here since it imports torch

        await super().__init__(arguments)


def app(arguments: dict[str, Any]) -> Any:
    """Returns the application."""
    return deployment(SleepingReplica).bind(arguments)
