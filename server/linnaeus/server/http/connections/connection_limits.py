"""What one connection over HTTP may cost, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Limits of a connection.

    Attributes:
        handshake_seconds: for the handshake of TLS.
        head_seconds: for the head of a request (its first line and headers), and for the first byte of a connection.
        head_bytes: a head at most; also the trailers of a body.
        headers: the headers of a request at most.
        pipelined: the requests of a connection that wait for an earlier one's answer at most.
        keep_alive_seconds: until the next request.
        write_seconds: within which a caller must read `write_bytes` of an answer that it is slow to read.
        write_bytes: see there.
        linger_seconds: for what a caller still sends after the last answer, so that it reads that answer.
    """

    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 16
    keep_alive_seconds: float = 75.0
    write_seconds: float = 30.0
    write_bytes: int = 64 * 1024
    linger_seconds: float = 5.0
