"""Linnaeus on Ray Serve: `serve run linnaeus.ray:app`, with Ray's gRPC proxy in front of replicas of the engine.

Ray places and restarts replicas, balances and scales them; each replica is a server of `linnaeus.server` without ports
for callers. Only `replica_server` imports torch: Ray's controller and its proxies import the rest. Only `application`
and `replica` import Ray.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Returns `app`, imported when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from linnaeus.ray.application import app

    return app
