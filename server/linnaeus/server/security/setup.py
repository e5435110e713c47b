"""From the settings to the server's locks: which belong together, which are missing, and what is told at the start."""

import logging
import time

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.process.file_limits import raise_limit, room_for_connections
from linnaeus.server.security.authorization import Guard, TokenFile
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.server.security.tls import Certificates, TlsFiles

logger = logging.getLogger(__name__)


def doors_of(settings: Settings) -> ServerSecurity:
    """Returns where the server listens and what each call must pass.

    Raises:
        StartupError: the settings contradict each other, a file cannot be used, or a lock is missing where other
            machines reach the server.
    """
    _require_whole(settings)
    address = Address(settings.host, settings.port)
    _require_tls(settings, address)
    return ServerSecurity(
        address=address,
        health=None if settings.health_port < 0 else Address(settings.health_host, settings.health_port),
        certificates=_certificates(settings),
        guard=_guard(settings),
        max_connections=settings.max_connections or room_for_connections(raise_limit()),
    )


def _require_whole(settings: Settings) -> None:
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartupError("tls_certificate and tls_key belong together: name both or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise StartupError("tls_client_ca asks clients for certificates, which takes tls_certificate and tls_key")


def _require_tls(settings: Settings, address: Address) -> None:
    """Without TLS nobody but this machine may come near, unless the operator says that it is all right."""
    if settings.tls_certificate:
        return
    risks = []
    if not address.is_loopback:
        risks.append(f"listening on {address.host} without TLS lets everybody on the network read and change calls")
    if settings.token_file:
        risks.append("without TLS, tokens travel readable by all")
    if risks and not settings.insecure:
        raise StartupError(f"{risks[0]}; set tls_certificate and tls_key, or say --insecure if that is wanted")
    for risk in risks:
        logger.warning("insecure: %s", risk)


def _certificates(settings: Settings) -> Certificates | None:
    if not settings.tls_certificate:
        return None
    return Certificates(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _guard(settings: Settings) -> Guard | None:
    """None where everybody may do everything: then no call pays for a lock."""
    tokens = TokenFile(settings.token_file) if settings.token_file else None
    limiter = limiter_of(settings)
    return None if tokens is None and limiter is None else Guard(tokens, limiter)


def limiter_of(settings: Settings) -> RateLimiter | None:
    """Returns what holds each caller to its rate; None where there is no rate."""
    if not settings.rate_limit:
        return None
    return RateLimiter(settings.rate_limit, max(settings.rate_burst or settings.rate_limit, 1.0), time.monotonic)
