"""The HTTP server of an engine: its routes over the servicers that gRPC has."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version

from linnaeus.server.app.services import Servicers
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.http.application import application
from linnaeus.server.http.calls import HttpCalls, HttpObserver
from linnaeus.server.http.classify import classify_routes
from linnaeus.server.http.connections.tls import TlsContexts
from linnaeus.server.http.console_files import console_routes
from linnaeus.server.http.kserve.routes import kserve_routes
from linnaeus.server.http.metrics import MetricsText, metrics_routes
from linnaeus.server.http.openapi.document import openapi_routes
from linnaeus.server.http.probes import probe_routes
from linnaeus.server.http.server import HttpServer
from linnaeus.server.rpc.server import RpcServer
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.charging import Charge
from linnaeus.server.security.server_security import ServerSecurity


def http_server(
    settings: Settings,
    security: ServerSecurity,
    servicers: Servicers,
    observer: HttpObserver,
    charge: Charge,
    unready_reason: Callable[[], str],
    metrics_text: MetricsText,
    traces: bool,
    shares_port: bool = False,
) -> HttpServer | None:
    """Returns the HTTP server; None if there is none.

    Args:
        settings: the server's settings.
        security: the address, the certificates and the authorization.
        servicers: answer the requests.
        observer: notified of every request.
        charge: charges an image for every request but probes.
        unready_reason: returns why the server is not ready, in a sentence; empty if it is.
        metrics_text: the metrics of the whole server.
        traces: whether requests need a context for telemetry.
        shares_port: whether other processes listen on the port, too.

    Raises:
        StartupError: if the port cannot be opened.
    """
    if security.http is None:
        return None
    largest = settings.max_message_bytes
    budget = security.byte_budget or ByteBudget(largest, 4 * largest, 2 * largest)
    certificates = security.certificates
    calls = HttpCalls(
        observer, budget, security.authorizer, certificates is not None, charge, traces, bool(settings.token_file)
    )
    routes = [
        *classify_routes(calls, servicers.classifier, servicers.models, settings.max_batch_images),
        *kserve_routes(calls, servicers.inference),
        *probe_routes(calls, unready_reason),
        *metrics_routes(calls, metrics_text, settings.has_metrics_on_http),
        *console_routes(calls),
    ]
    routes += openapi_routes(calls, routes, version("linnaeus"))
    tls = None if certificates is None else TlsContexts(certificates.files).current
    is_open = certificates is None and not settings.token_file
    app = application(routes, settings.http_allow_origin, is_open and security.http.is_loopback)
    return HttpServer(app, security.http, security.max_connections, tls, shares_port)


async def lame_duck(rpc_server: RpcServer, http: HttpServer | None, seconds: float) -> None:
    """Tells callers by gRPC and by HTTP to turn elsewhere, and keeps answering them for `seconds`."""
    if http is not None:
        http.lame_duck()
    await rpc_server.lame_duck(seconds)


async def stop_ports(engine: Engine, rpc_server: RpcServer, http: HttpServer | None, grace_seconds: float) -> None:
    """Answers what has arrived by gRPC and by HTTP, for `grace_seconds` at most, and closes the ports."""
    stops = [rpc_server.stop(engine, grace_seconds)]
    if http is not None:
        stops.append(http.stop(engine, grace_seconds))
    await asyncio.gather(*stops)
