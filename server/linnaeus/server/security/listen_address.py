"""Addresses that gRPC listens on, and whether other machines reach them."""

import ipaddress
from dataclasses import dataclass

import grpc

from linnaeus.server.errors import StartupError
from linnaeus.server.security.tls import Certificates


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, of which 0 means any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it; a name other than `localhost` may be anything, and is not."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def listen(server: grpc.aio.Server, address: Address, certificates: Certificates | None = None) -> int:
    """Opens a port of a server that has not started, and returns its number.

    Raises:
        StartupError: it cannot be opened.
    """
    try:
        if certificates is None:
            return server.add_insecure_port(str(address))
        return server.add_secure_port(str(address), certificates.credentials)
    except RuntimeError:
        raise StartupError(f"gRPC cannot listen on {address}; is another server using the port?") from None
