"""What is sent: every picture as a ready message, whole or spoilt.

It must not know when a message is sent or over which connection.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from linnaeus.client.load.plan import Plan
from linnaeus.v1 import classifier_pb2 as messages

_PRIORITIES = {
    None: messages.PRIORITY_UNSPECIFIED,
    "low": messages.PRIORITY_LOW,
    "normal": messages.PRIORITY_NORMAL,
    "high": messages.PRIORITY_HIGH,
}
# Every format tells itself by its first bytes: without them no decoder knows what it is looking at.
_SPOILT_BYTES = 16
# Batches repeat after at most as many messages as there are pictures.
_MESSAGES_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message, ready to be sent.

    Attributes:
        body: the request, serialised; a stream's lacks its correlation id.
        pictures: the places in the plan of the pictures it carries.
        spoilt: whether they were made undecodable.
    """

    body: bytes
    pictures: tuple[int, ...]
    spoilt: bool


class Messages:
    """Hands out messages, picture by picture in turn, some of them spoilt; one thread at a time.

    Args:
        plan: says which pictures and how many are spoilt.
        index: of the process; each begins at another picture.
        processes: how many there are.

    Raises:
        OSError: a picture cannot be read.
    """

    def __init__(self, plan: Plan, index: int, processes: int) -> None:
        self._plan = plan
        self._files = [path.read_bytes() for path in plan.pictures]
        self._place = len(self._files) * index // processes
        self._chance = random.Random(f"{plan.seed} spoilt {index}")
        self._made = lru_cache(maxsize=_MESSAGES_KEPT)(self._make)

    def next(self) -> Message:
        """The next message."""
        place, count = self._place, self._plan.images_per_call
        self._place = (place + count) % len(self._files)
        if self._plan.corrupt_rate and self._chance.random() < self._plan.corrupt_rate:
            return self._make(place, True)
        return self._made(place, False)

    def _make(self, place: int, spoilt: bool) -> Message:
        places = tuple((place + step) % len(self._files) for step in range(self._plan.images_per_call))
        files = [self._spoil(self._files[each]) if spoilt else self._files[each] for each in places]
        return Message(request_body(self._plan, files), places, spoilt)

    def _spoil(self, file: bytes) -> bytes:
        """Cuts a file off in its header or turns its first bytes over: no decoder can read either."""
        if self._chance.random() < 0.5:
            return file[: self._chance.randint(1, _SPOILT_BYTES - 1)]
        return bytes(byte ^ 0xFF for byte in file[:_SPOILT_BYTES]) + file[_SPOILT_BYTES:]


def request_body(plan: Plan, files: Sequence[bytes]) -> bytes:
    """The plan's request for these files, serialised."""
    images = [messages.Image(encoded=file) for file in files]
    if plan.rpc == "batch":
        return _asking(messages.ClassifyBatchRequest(images=images), plan)
    kind = messages.StreamClassifyRequest if plan.rpc == "stream" else messages.ClassifyRequest
    return _asking(kind(image=images[0]), plan)


def _asking(
    request: messages.ClassifyRequest | messages.ClassifyBatchRequest | messages.StreamClassifyRequest, plan: Plan
) -> bytes:
    """What the three requests have in common."""
    request.model = plan.model
    request.version = plan.version
    request.top_k = plan.top_k
    request.priority = _PRIORITIES[plan.priority]
    return request.SerializeToString()
