"""How large a request may be: what this client was told, and what the server says once it is asked.

Decides when the server has to be asked; asking is the clients' business.
"""

from linnaeus.client.transport.message_size import MEBIBYTE

# What a server that tells no limit is taken to accept; a Linnaeus server's own default.
USUAL_MESSAGE_BYTES = 32 * MEBIBYTE
# No request below is worth a question: no sensible server refuses it.
ASK_ABOVE_BYTES = MEBIBYTE
# What a server that tells nothing of batches is taken to accept in one.
USUAL_BATCH_IMAGES = 32
# Above, nothing is read or sent whatever the server takes.
LARGEST_MESSAGE_BYTES = 512 * MEBIBYTE


class MessageLimit:
    """The largest request as far as it is known. Any thread may read it; telling it twice does no harm.

    Args:
        own_bytes: the caller's own limit, which can only lower the server's; None where there is none.

    Raises:
        ValueError: it is no number above 0, or more than gRPC can hold.
    """

    def __init__(self, own_bytes: int | None) -> None:
        known = own_bytes is None or (isinstance(own_bytes, int) and not isinstance(own_bytes, bool) and own_bytes > 0)
        if not known:
            raise ValueError(f"max_message_bytes must be a number above 0, not {own_bytes!r}")
        if own_bytes is not None and own_bytes > LARGEST_MESSAGE_BYTES:
            raise ValueError(f"max_message_bytes must be at most {LARGEST_MESSAGE_BYTES}, not {own_bytes!r}")
        self.own_bytes = own_bytes
        self._server_bytes: int | None = None
        self._batch_images = 0

    @property
    def bytes(self) -> int:
        """The least of what is known now."""
        known = [each for each in (self.own_bytes, self._server_bytes) if each is not None]
        return min(known, default=LARGEST_MESSAGE_BYTES)

    @property
    def batch_images(self) -> int:
        """How many pictures one call may hold."""
        return self._batch_images or USUAL_BATCH_IMAGES

    @property
    def is_told(self) -> bool:
        """Whether the server was asked."""
        return self._server_bytes is not None

    def must_ask(self, size_bytes: int) -> bool:
        """Whether a request of this size must wait until the server has told its limit."""
        return self._server_bytes is None and size_bytes > ASK_ABOVE_BYTES

    def tell(self, server_bytes: int, batch_images: int = 0) -> None:
        """Keeps the server's answer; 0 means that it told none."""
        self._batch_images = max(batch_images, 0)
        told = server_bytes if server_bytes > 0 else USUAL_MESSAGE_BYTES
        self._server_bytes = min(told, LARGEST_MESSAGE_BYTES)
