"""The security of a server, constructed from its settings: listen addresses, TLS, tokens and rate limit."""

import logging
import time
from dataclasses import dataclass

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.process.file_limits import connection_limit, raise_open_file_limit
from linnaeus.server.security.authorization import Authorizer
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.tls import Certificates, TlsFiles
from linnaeus.server.security.token_file import TokenFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecurity:
    """The listen addresses of a server and the checks of its connections and calls.

    Attributes:
        address: the address of all services.
        max_connections: the maximum number of connections; further ones are closed at once.
        health: the address of the separate health port; None for no such port.
        certificates: the server's certificates; None for no TLS.
        authorizer: checks each call; None if every call is allowed.
    """

    address: Address
    max_connections: int
    health: Address | None = None
    certificates: Certificates | None = None
    authorizer: Authorizer | None = None


def server_security(settings: Settings) -> ServerSecurity:
    """Constructs the security of a server.

    Raises:
        StartupError: if the settings contradict each other, if a file cannot be used, or if the server is reachable
            from other machines without TLS and `insecure` is not set.
    """
    _require_complete(settings)
    address = Address(settings.host, settings.port)
    _require_tls(settings, address)
    return ServerSecurity(
        address=address,
        health=Address(settings.health_host, settings.health_port) if settings.has_health_port else None,
        certificates=_certificates(settings),
        authorizer=_authorizer(settings),
        max_connections=settings.max_connections or connection_limit(raise_open_file_limit()),
    )


def _require_complete(settings: Settings) -> None:
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartupError("tls_certificate and tls_key belong together: name both or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise StartupError("tls_client_ca asks clients for certificates, which takes tls_certificate and tls_key")


def _require_tls(settings: Settings, address: Address) -> None:
    """Requires TLS if the server listens beyond this machine or has tokens, unless `insecure` is set."""
    if settings.tls_certificate:
        return
    risks = []
    if not address.is_loopback:
        risks.append(f"listening on {address.host} without TLS lets everybody on the network read and change calls")
    if settings.token_file and not address.is_socket_file:
        risks.append("without TLS, tokens travel readable by all")
    if risks and not settings.insecure:
        raise StartupError(f"{risks[0]}; set tls_certificate and tls_key, or say --insecure if that is wanted")
    for risk in risks:
        logger.warning("insecure: %s", risk)


def _certificates(settings: Settings) -> Certificates | None:
    if not settings.tls_certificate:
        return None
    return Certificates(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _authorizer(settings: Settings) -> Authorizer | None:
    """Returns None if there are neither tokens nor a rate limit, so that calls skip the check."""
    tokens = TokenFile(settings.token_file) if settings.token_file else None
    limiter = rate_limiter(settings)
    return None if tokens is None and limiter is None else Authorizer(tokens, limiter)


def rate_limiter(settings: Settings) -> RateLimiter | None:
    """Returns the rate limiter of the settings; None if they set no rate limit."""
    if not settings.rate_limit:
        return None
    return RateLimiter(settings.rate_limit, max(settings.rate_burst or settings.rate_limit, 1.0), time.monotonic)
