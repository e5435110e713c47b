"""The application that `serve run linnaeus.ray:app` deploys."""

import os
from typing import Any

from ray import serve

from linnaeus.ray.arguments import replica_settings
from linnaeus.ray.replica import Replica

# The engine's admission decides what waits, by deadline and priority. Ray's limit would make another queue in front of
# it, that knows of neither, so it is out of reach: engines refuse long before.
_MAX_ONGOING_REQUESTS = 100_000
_HEALTH_CHECK_PERIOD_SECONDS = 2.0
_HEALTH_CHECK_TIMEOUT_SECONDS = 20.0
# As long as a server's --drain-seconds.
_DRAIN_SECONDS = 30.0
_DRAIN_POLL_SECONDS = 0.5

deployment: Any = serve.deployment(
    name="linnaeus",
    max_ongoing_requests=_MAX_ONGOING_REQUESTS,
    health_check_period_s=_HEALTH_CHECK_PERIOD_SECONDS,
    health_check_timeout_s=_HEALTH_CHECK_TIMEOUT_SECONDS,
    graceful_shutdown_timeout_s=_DRAIN_SECONDS,
    graceful_shutdown_wait_loop_s=_DRAIN_POLL_SECONDS,
)


def app(arguments: dict[str, Any]) -> Any:
    """Returns the application.

    Args:
        arguments: settings of `linnaeus-server` by their names, such as `repository`; `args` in a config file. They win
            over the variables `LINNAEUS_…` of the replicas' environment.

    Raises:
        StartupError: if a setting does not exist, or has a wrong value.
    """
    replica_settings(arguments, os.environ)  # says what is wrong before a replica is placed
    return deployment(Replica).bind(arguments)
