"""Tells of releases of grpcio that a server should not run on (docs/decisions/0019-grpcio.md)."""

import logging
import re

import grpc

logger = logging.getLogger(__name__)

# From one release to another, each as (major, minor), and what those do. What comes after the last was not tried.
_FAULTS = (
    ((1, 77), (1, 78), "ends with a segmentation fault if a server stops beside a half-open connection"),
    ((1, 80), (1, 85), "answers a tenth to a half fewer calls a second than 1.76 does on few cores"),
)
# All of them: each requires a grpcio that is not older than itself.
_REMEDY = (
    "pip install 'grpcio==1.76.*' 'grpcio-status==1.76.*' 'grpcio-health-checking==1.76.*' 'grpcio-reflection==1.76.*'"
)


def warn_of_grpc_release() -> None:
    """Logs a warning if the grpcio that is installed has a known fault."""
    release = str(grpc.__version__)
    if fault := fault_of(release):
        logger.warning(
            "grpcio %s %s: %s", release, fault, _REMEDY, extra={"event": {"event": "grpc_release", "grpcio": release}}
        )


def fault_of(release: str) -> str:
    """Returns what a release of grpcio, such as "1.80.1", does; empty for one without a known fault."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        return ""
    found = (int(numbers[1]), int(numbers[2]))
    return next((fault for first, last, fault in _FAULTS if first <= found <= last), "")
