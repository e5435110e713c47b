"""The addresses that the server listens on, as operators write them: checked and brought into one form.

An address is an IPv4 or IPv6 literal, a host name, or a socket file (`unix:/path`); the port is a setting of its own.
"""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from linnaeus.server.config.shown_value import shown

UNIX = "unix:"
UNIX_ABSTRACT = "unix-abstract:"
# Linux' sockaddr_un has 108 bytes, one of which ends the path.
_MAX_PATH_BYTES = 107
_ADVICE = "an IP address or a host name without a port"


def is_socket_file(host: str) -> bool:
    """Returns whether the address is a socket of this machine's file system or of its abstract names."""
    return host.startswith((UNIX, UNIX_ABSTRACT))


def read_tcp_host(host: str, info: ValidationInfo) -> str:
    """Returns an address of a TCP port: IPv6 without brackets; `::` for an empty one, as all addresses.

    Raises:
        ValueError: if it is none; the message is a sentence about the setting.
    """
    if is_socket_file(host):
        raise ValueError(f"{info.field_name} is {shown(host)}, but must be {_ADVICE}: HTTP is served over TCP only")
    bare = host.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    if (":" in bare and not _is_ipv6(bare)) or not bare.isprintable() or "/" in bare or " " in bare:
        raise ValueError(f"{info.field_name} is {shown(host)}, but must be {_ADVICE}, such as 127.0.0.1 or ::")
    return bare or "::"


def read_grpc_host(host: str, info: ValidationInfo) -> str:
    """Returns an address that gRPC can listen on: as `read_tcp_host`, or `unix:PATH`, `unix-abstract:NAME`.

    Raises:
        ValueError: if it is none; the message is a sentence about the setting.
    """
    if not is_socket_file(host):
        return read_tcp_host(host, info)
    scheme, _, path = host.partition(":")
    path = path.removeprefix("//")
    if not path or "\0" in path or len(path.encode("utf-8", "surrogateescape")) > _MAX_PATH_BYTES:
        wanted = f"{scheme}: and a path of at most {_MAX_PATH_BYTES} bytes"
        raise ValueError(f"{info.field_name} is {shown(host)}, but must be {wanted}")
    return f"{scheme}:{path}"


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


TcpHost = Annotated[str, AfterValidator(read_tcp_host)]
GrpcHost = Annotated[str, AfterValidator(read_grpc_host)]
