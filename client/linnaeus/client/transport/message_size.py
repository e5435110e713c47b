"""How large a request may be: one check, one sentence, before anything is sent.

gRPC itself answers an over-large message with RESOURCE_EXHAUSTED, the code of a full queue. Trying again would never
help, so the size is looked at here first.
"""

from linnaeus.client.errors import InvalidImage

MEBIBYTE = 1024 * 1024


def require_room(size_bytes: int, limit_bytes: int, *, subject: str = "the request") -> None:
    """Refuses what does not fit into one message.

    Raises:
        InvalidImage: `size_bytes` is above `limit_bytes`; says both and what to do.
    """
    if size_bytes > limit_bytes:
        raise InvalidImage(
            f"{subject} is {readable(size_bytes)}, above the limit of {readable(limit_bytes)}: send a smaller picture, "
            "or the JPEG or PNG file instead of its pixels, or raise max_message_bytes here and at the server"
        )


def readable(size_bytes: int) -> str:
    """A size for people, rounded, with the exact count beside it so that a near miss can be told from a hit."""
    return f"{size_bytes / MEBIBYTE:.1f} MiB ({size_bytes:,} bytes)"
