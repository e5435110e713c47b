"""How large a request may be: the caller's limit, the server's limit, and the check before anything is sent.

gRPC itself answers an oversized message with RESOURCE_EXHAUSTED, the status of a full queue. Retrying would never help,
so the size is checked here first. This module decides when the server must be queried for its limit; the clients query.
"""

from linnaeus.client.errors import InvalidImage

MEBIBYTE = 1024 * 1024

# Assumed of a server that reports no limit; the default of a Linnaeus server.
DEFAULT_MESSAGE_BYTES = 32 * MEBIBYTE
# Smaller requests are sent without a query: no reasonable server refuses them.
QUERY_ABOVE_BYTES = MEBIBYTE
# Assumed of a server that reports no limit for batches.
DEFAULT_BATCH_IMAGES = 32
# Larger files are neither read nor sent, whatever the server accepts.
MAX_MESSAGE_BYTES = 512 * MEBIBYTE


def check_message_size(size_bytes: int, limit_bytes: int, *, subject: str = "the request") -> None:
    """Checks that something fits into one message.

    Raises:
        InvalidImage: if `size_bytes` exceeds `limit_bytes`. The message names both and suggests a remedy.
    """
    if size_bytes > limit_bytes:
        raise InvalidImage(
            f"{subject} is {format_size(size_bytes)}, above the limit of {format_size(limit_bytes)}: send a smaller "
            "picture, or the JPEG or PNG file instead of its pixels, or raise max_message_bytes here and at the server"
        )


def format_size(size_bytes: int) -> str:
    """Formats a size in MiB, rounded, with the exact count in bytes, so that a near miss can be recognised."""
    return f"{size_bytes / MEBIBYTE:.1f} MiB ({size_bytes:,} bytes)"


class MessageLimit:
    """The largest request that is allowed, as far as it is known. Any thread may use it.

    Args:
        client_bytes: the caller's own limit, which can only lower the server's; None for no limit.

    Raises:
        ValueError: if `client_bytes` is not a number above 0, or more than gRPC can hold.
    """

    def __init__(self, client_bytes: int | None) -> None:
        valid = client_bytes is None or (
            isinstance(client_bytes, int) and not isinstance(client_bytes, bool) and client_bytes > 0
        )
        if not valid:
            raise ValueError(f"max_message_bytes must be a number above 0, not {client_bytes!r}")
        if client_bytes is not None and client_bytes > MAX_MESSAGE_BYTES:
            raise ValueError(f"max_message_bytes must be at most {MAX_MESSAGE_BYTES}, not {client_bytes!r}")
        self.client_bytes = client_bytes
        self._server_bytes: int | None = None
        self._batch_images = 0

    @property
    def bytes(self) -> int:
        """The smallest of the limits that are known now."""
        known = [limit for limit in (self.client_bytes, self._server_bytes) if limit is not None]
        return min(known, default=MAX_MESSAGE_BYTES)

    @property
    def batch_images(self) -> int:
        """The number of images that one ClassifyBatch call may hold."""
        return self._batch_images or DEFAULT_BATCH_IMAGES

    @property
    def server_is_known(self) -> bool:
        """Whether the server was queried."""
        return self._server_bytes is not None

    def must_query(self, size_bytes: int) -> bool:
        """Returns whether the server must be queried before a request of this size is sent."""
        return self._server_bytes is None and size_bytes > QUERY_ABOVE_BYTES

    def set_server_limits(self, message_bytes: int, batch_images: int = 0) -> None:
        """Stores the limits that the server reported; 0 stands for a limit that it did not report."""
        self._batch_images = max(batch_images, 0)
        reported = message_bytes if message_bytes > 0 else DEFAULT_MESSAGE_BYTES
        self._server_bytes = min(reported, MAX_MESSAGE_BYTES)
