"""The addresses that gRPC servers listen on."""

import ipaddress
from dataclasses import dataclass

import grpc

from linnaeus.server.errors import StartupError
from linnaeus.server.security.tls import Certificates


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; False for every host name but `localhost`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def listen(server: grpc.aio.Server, address: Address, certificates: Certificates | None = None) -> int:
    """Opens a port of a server that has not started, and returns the port number.

    Args:
        server: the server.
        address: the address to listen on.
        certificates: the server's certificates; None for no TLS.

    Raises:
        StartupError: if the port cannot be opened.
    """
    try:
        if certificates is None:
            return server.add_insecure_port(str(address))
        return server.add_secure_port(str(address), certificates.credentials)
    except RuntimeError:
        raise StartupError(f"gRPC cannot listen on {address}; is another server using the port?") from None
