"""`linnaeus-server healthcheck`: queries the health of the server on this machine, for HEALTHCHECK and exec probes.

This module must not import torch, because probes start a new process every few seconds. It uses the server's own
settings, so that both commands work with the same environment.
"""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linnaeus.server.config.hosts import is_socket_file
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError

# Listen addresses that cannot be connected to, and the addresses to use instead. A server on :: takes IPv4 as well, and
# every machine has 127.0.0.1, with IPv6 or without.
_WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}


def check_health(settings: Settings, timeout_seconds: float) -> str:
    """Queries the health of the whole server once.

    Args:
        settings: the server's settings.
        timeout_seconds: the timeout of the query.

    Returns:
        A sentence that says that the server is serving.

    Raises:
        StartupError: if the server is not serving, or does not answer; the message is for the operator.
    """
    address = _address(settings)
    try:
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in the published types
            response = check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
    except grpc.RpcError as error:
        raise StartupError(f"no health from {address}: {_reason(error, timeout_seconds)}") from None
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        raise StartupError(f"the server at {address} is up but {name}")
    return f"the server at {address} is SERVING"


def _reason(error: Any, timeout_seconds: float) -> str:
    """Returns why a query failed, in words of the operator."""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return "no server answers there; is it running, and with these settings?"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the server does not answer within {timeout_seconds:g} s"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "the server there is another one, which has no health"
    return f"{error.code().name}, {error.details()}"


def _address(settings: Settings) -> str:
    """Returns the address at which the server on this machine answers health queries.

    Raises:
        StartupError: if the port is chosen at the server's start, or requires TLS.
    """
    if settings.has_health_port:
        return _host_and_port("health_port", settings.health_host, settings.health_port)
    if settings.tls_certificate:
        raise StartupError("the server speaks TLS; set LINNAEUS_HEALTH_PORT, where probes need no certificate")
    return _host_and_port("port", settings.host, settings.port)


def _host_and_port(setting: str, host: str, port: int) -> str:
    if is_socket_file(host):
        return host
    if not port:
        variable = f"LINNAEUS_{setting.upper()}"
        raise StartupError(f"{setting} is 0, so the port that the server took is not known here; set {variable}")
    host = _WILDCARD_ADDRESSES.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
