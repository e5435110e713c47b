"""Recognizes safetensors: eight bytes with the length of a header in JSON, then that header, then numbers."""

import json
from pathlib import Path

_LENGTH_BYTES = 8
# As the format's own library has it.
_MOST_HEADER_BYTES = 100_000_000


def describe(path: Path, head: bytes) -> str | None:
    """Describes a safetensors file in words that complete "it is …"; None if the file is none."""
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if not head[_LENGTH_BYTES:].startswith(b"{") or not 2 <= length <= _MOST_HEADER_BYTES:
        return None
    with path.open("rb") as file:
        file.seek(_LENGTH_BYTES)
        header = file.read(length)
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        return "a safetensors file whose header is damaged"
    tensors = len(entries.keys() - {"__metadata__"})
    return f"safetensors, weights without a network: {tensors} tensor{'s' * (tensors != 1)}"
