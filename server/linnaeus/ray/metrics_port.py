"""The port of a replica's own metrics and probes, one of several side by side on a machine."""

from prometheus_client import CollectorRegistry

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.metrics_server import MetricsServer
from linnaeus.server.observability.probes import Probes
from linnaeus.server.process.supervisor import Supervisor

# Ports from --metrics-port upwards: more replicas than any machine has devices, while old and new ones overlap.
PORTS = 64


def metrics_server(
    settings: Settings, registry: CollectorRegistry, probes: Probes, supervisor: Supervisor
) -> MetricsServer:
    """Returns a server on the first free port from the setting's upwards, so that Prometheus knows where to look.

    Raises:
        StartupError: if none of 64 ports can be opened.
    """
    host, first = settings.metrics_host, settings.metrics_port
    last = first if first == 0 else min(first + PORTS - 1, 65_535)
    for port in range(first, last):
        try:
            return MetricsServer(registry, probes, host, port, supervisor)
        except StartupError:
            continue
    return MetricsServer(registry, probes, host, last, supervisor)
