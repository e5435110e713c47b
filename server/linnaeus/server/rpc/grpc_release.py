"""Tells of releases of grpcio with which a call costs more than it need (docs/decisions/0019-grpcio.md)."""

import logging
import re

import grpc

logger = logging.getLogger(__name__)

# From 1.80 on several threads hand each call on; what comes after 1.85 was not measured.
_FIRST_SLOW, _LAST_SLOW = (1, 80), (1, 85)
# All of them: each requires a grpcio that is not older than itself.
_REMEDY = "pip install 'grpcio<1.80' 'grpcio-status<1.80' 'grpcio-health-checking<1.80' 'grpcio-reflection<1.80'"


def warn_of_slow_grpc() -> None:
    """Logs a warning if the grpcio that is installed is one with which calls were measured to be slower."""
    release = str(grpc.__version__)
    if is_slow(release):
        logger.warning(
            "grpcio %s answers a tenth to a half fewer calls a second than 1.78 does on few cores: %s",
            release,
            _REMEDY,
            extra={"event": {"event": "slow_grpc", "grpcio": release}},
        )


def is_slow(release: str) -> bool:
    """Returns whether a release of grpcio, such as "1.80.1", is one of those; False for what is no release."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and _FIRST_SLOW <= (int(numbers[1]), int(numbers[2])) <= _LAST_SLOW
