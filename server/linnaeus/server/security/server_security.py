"""Where a server listens, and what each call must pass."""

from dataclasses import dataclass

from linnaeus.server.security.authorization import Guard
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.tls import Certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecurity:
    """Where a server listens, and to whom.

    Attributes:
        address: of all services.
        max_connections: further ones are closed at once.
        health: of the port that only tells the health; None for no such port.
        certificates: None for no TLS.
        guard: asked before every call; None lets all pass.
    """

    address: Address
    max_connections: int
    health: Address | None = None
    certificates: Certificates | None = None
    guard: Guard | None = None
