"""Says an error of the connection or the token in the words of the command line: its cause, and the option that helps.

`transport/connection_probe.py` finds the cause, which gRPC may hide or tell in words of its own.
"""

from dataclasses import dataclass

from linnaeus.client.cli.connection import Connection
from linnaeus.client.cli.option_names import with_option_names
from linnaeus.client.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LinnaeusError,
    ModelNotFound,
    PermissionDenied,
    ServerFailure,
    Unauthenticated,
    Unavailable,
)
from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.client.transport.connection_probe import Finding, Trouble, find_trouble
from linnaeus.client.transport.tls import parse_tls

# A server next door answers within milliseconds; a silent one is found out after this time.
_PROBE_SECONDS = 2.0

_NO_SERVER = "check the address, and that linnaeus-server runs there"
# What is wrong, and what to do.
_SENTENCES: dict[Trouble, tuple[str, str]] = {
    Trouble.UNKNOWN_NAME: ("no machine is known by that name", "check the address"),
    Trouble.NO_SOCKET_FILE: ("there is no such socket file", _NO_SERVER),
    Trouble.UNREACHABLE: ("{detail}", _NO_SERVER),
    Trouble.REFUSED: ("{detail}", _NO_SERVER),
    Trouble.CONNECT_TIMEOUT: ("the connection is not taken", "check the address, and whether a firewall is between"),
    Trouble.SILENT: ("the port takes connections and says nothing", _NO_SERVER),
    Trouble.NOT_GRPC: ("something else than gRPC is there", "check the port"),
    Trouble.WEB_SERVER: ("a web server is there that speaks no gRPC", "check the port; gRPC's is 8001 by default"),
    Trouble.SPEAKS_TLS: ("the server speaks TLS", "use --tls, and --tls-ca FILE for an authority of your own"),
    Trouble.SPEAKS_NO_TLS: ("the server does not speak TLS", "leave out --tls and the other options of TLS"),
    Trouble.TLS_FAILED: ("TLS failed: {detail}", "see the server's log"),
    Trouble.UNKNOWN_AUTHORITY: (
        "the server's certificate is not trusted: {detail}",
        "use --tls-ca FILE with the authority that signed it",
    ),
    Trouble.WRONG_NAME: (
        "the server's certificate is for another name",
        "use an address that is in it, or --tls-server-name NAME",
    ),
    Trouble.EXPIRED: ("the server's certificate has expired", "the server needs a new one"),
    Trouble.NOT_YET_VALID: ("the server's certificate is not valid yet", "check the clocks"),
    Trouble.ASKS_FOR_CERTIFICATE: (
        "the server asks for a certificate of the client",
        "use --tls-certificate FILE and --tls-key FILE with one that it trusts",
    ),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """An error in the words of the command line.

    Attributes:
        message: one sentence.
        concerns_all: whether any other call would fail by the same cause.
    """

    message: str
    concerns_all: bool


def explain(error: LinnaeusError, connection: Connection) -> Explanation:
    """Explains an error. Connects once more to find its cause if the server was not reached, which may block a while.

    An error with details is the server's own, and says itself what is wrong.
    """
    if isinstance(error, Unauthenticated) and connection.credentials.token is None:
        message = f"the server at {connection.server} asks for a token: use --token-file FILE, or set LINNAEUS_TOKEN"
        return Explanation(message, concerns_all=True)
    if isinstance(error, Unavailable | DeadlineExceeded) and not error.details:
        return _explain_silence(error, connection)
    of_all = isinstance(error, ModelNotFound | Unauthenticated | PermissionDenied | InvalidRequest)
    is_strange = isinstance(error, ServerFailure) and not error.details  # no Linnaeus server
    return Explanation(with_option_names(str(error)), concerns_all=of_all or is_strange)


def _explain_silence(error: LinnaeusError, connection: Connection) -> Explanation:
    addresses, tls = parse_addresses(connection.server), parse_tls(connection.credentials.tls)
    finding = find_trouble(addresses, tls, _PROBE_SECONDS)
    if finding is None:
        return Explanation(str(error), concerns_all=isinstance(error, Unavailable))
    return Explanation(_sentence(finding, connection.server), concerns_all=True)


def _sentence(finding: Finding, server: str) -> str:
    cause, remedy = _SENTENCES[finding.trouble]
    return f"no server answers at {server} ({cause.format(detail=finding.detail)}): {remedy}"
