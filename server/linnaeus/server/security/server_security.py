"""The security of a server, constructed from its settings: listen addresses, TLS, tokens and limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.process.file_limits import connection_limit, raise_open_file_limit
from linnaeus.server.process.memory import usable_memory_bytes
from linnaeus.server.scheduling import Priority
from linnaeus.server.security.authorization import Authorizer
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.tls import Certificates, TlsFiles
from linnaeus.server.security.token_file import TokenFile
from linnaeus.server.security.tokens import PRIORITY_NAMES

# Messages that may be received at once on a machine with little memory.
_MIN_MESSAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecurity:
    """The listen addresses of a server and the checks of its connections and calls, as one front end has them.

    Attributes:
        address: the address of all services.
        max_connections: the maximum number of connections by gRPC, and as many by HTTP; further ones are closed at
            once.
        health: the address of the separate health port; None for no such port.
        http: the address of HTTP; None for no such port.
        certificates: the server's certificates; None for no TLS.
        authorizer: checks each call; None if every call is allowed.
        byte_budget: bounds the request messages in the server; None for a default.
        risks: what `insecure` allows, in sentences.
    """

    address: Address
    max_connections: int
    health: Address | None = None
    http: Address | None = None
    certificates: Certificates | None = None
    authorizer: Authorizer | None = None
    byte_budget: ByteBudget | None = None
    risks: Sequence[str] = ()


def server_security(settings: Settings) -> ServerSecurity:
    """Constructs the security of a server.

    Raises:
        StartupError: if the settings contradict each other, if a file cannot be used, or if the server is reachable
            from other machines without TLS and `insecure` is not set.
    """
    _require_complete(settings)
    address = Address(settings.host, settings.port)
    http = Address(settings.http_host, settings.http_port) if settings.http_port >= 0 else None
    risks = _allowed_risks(settings, [address] if http is None else [address, http])
    return ServerSecurity(
        address=address,
        health=Address(settings.health_host, settings.health_port) if settings.has_health_port else None,
        http=http,
        certificates=_certificates(settings),
        authorizer=_authorizer(settings),
        byte_budget=byte_budget(settings, usable_memory_bytes()),
        risks=risks,
        max_connections=_max_connections(settings),
    )


def _require_complete(settings: Settings) -> None:
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartupError("tls_certificate and tls_key belong together: name both or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise StartupError("tls_client_ca asks clients for certificates, which takes tls_certificate and tls_key")


def _allowed_risks(settings: Settings, addresses: Sequence[Address]) -> list[str]:
    """Requires TLS if the server listens beyond this machine or has tokens; returns the risks if `insecure` is set."""
    if settings.tls_certificate:
        return []
    risks = []
    for host in dict.fromkeys(address.host for address in addresses if not address.is_loopback):
        risks.append(f"listening on {host} without TLS lets everybody on the network read and change calls")
    if settings.token_file and not all(address.is_socket_file for address in addresses):
        risks.append("without TLS, tokens travel readable by all")
    if risks and not settings.insecure:
        raise StartupError(f"{risks[0]}; set tls_certificate and tls_key, or say --insecure if that is wanted")
    return risks


def _certificates(settings: Settings) -> Certificates | None:
    if not settings.tls_certificate:
        return None
    return Certificates(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _authorizer(settings: Settings) -> Authorizer | None:
    """Returns None if there is nothing to check and no priority to lower, so that calls skip it."""
    tokens = TokenFile(settings.token_file) if settings.token_file else None
    max_priority = PRIORITY_NAMES[settings.max_priority]
    if tokens is None and max_priority is Priority.HIGH:
        return None
    return Authorizer(tokens, max_priority)


def _max_connections(settings: Settings) -> int:
    """Returns the connections of one front end by gRPC, and by HTTP, at most.

    That is its part of the setting, or what one process may have open: half of that for each, if there are both.
    """
    if not settings.max_connections:
        limit = connection_limit(raise_open_file_limit())
        return limit if settings.http_port < 0 else max(limit // 2, 1)
    return _part(settings, settings.max_connections, least=1)


def byte_budget(settings: Settings, memory_bytes: int) -> ByteBudget:
    """Returns the budget of request messages of one front end: an equal part, and one largest message at least.

    Args:
        settings: the settings, of which 0 stands for a share of the memory.
        memory_bytes: the memory that the whole server may use.

    Raises:
        StartupError: if not even one message fits into the server's budget, or into a caller's share.
    """
    least = settings.max_message_bytes
    total = settings.max_bytes_in_flight or max(memory_bytes // 4, _MIN_MESSAGES * least)
    share = settings.max_bytes_in_flight_per_caller or max(total // 2, least)
    for name, size in (("max_bytes_in_flight", total), ("max_bytes_in_flight_per_caller", share)):
        if size < least:
            raise StartupError(f"{name} is {size}, but must hold one message of max_message_bytes, {least}")
    return ByteBudget(least, _part(settings, total, least), _part(settings, share, least))


def _part(settings: Settings, whole: int, least: int) -> int:
    """Returns what one front end gets of a limit of the whole server."""
    return max(whole // max(settings.front_end_count, 1), least)
