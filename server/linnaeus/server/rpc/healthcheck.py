"""`linnaeus-server healthcheck`: asks the server of the same machine how it is, for HEALTHCHECK and exec probes.

It must not import torch, for it is a process of its own every few seconds. It reads the settings that the server
reads, so one environment serves both.
"""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError

# Addresses to listen on that are none to call.
_WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def check_health(settings: Settings, timeout_seconds: float) -> str:
    """Asks once for the health of the whole server.

    Args:
        settings: the server's.
        timeout_seconds: how long the answer may take.

    Returns:
        One sentence: it is serving.

    Raises:
        StartupError: it is not, or does not answer; the sentence for the operator.
    """
    address = _address(settings)
    try:
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            ask = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # the published types lack it
            answer = ask(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
    except grpc.RpcError as error:
        raise StartupError(f"no health from {address}: {error.code().name}, {error.details()}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise StartupError(f"the server at {address} is up but {name}")
    return f"the server at {address} is SERVING"


def _address(settings: Settings) -> str:
    """Where this machine's server tells its health: the one place that decides it.

    Raises:
        StartupError: the port is not known beforehand, or only who has a certificate may ask there.
    """
    if settings.health_port >= 0:
        return _host_and_port("health_port", settings.health_host, settings.health_port)
    if settings.tls_certificate:
        raise StartupError("the server speaks TLS; set LINNAEUS_HEALTH_PORT, where probes need no certificate")
    return _host_and_port("port", settings.host, settings.port)


def _host_and_port(setting: str, host: str, port: int) -> str:
    if not port:
        variable = f"LINNAEUS_{setting.upper()}"
        raise StartupError(f"{setting} is 0, so the port that the server took is not known here; set {variable}")
    host = _WILDCARD_ADDRESSES.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
