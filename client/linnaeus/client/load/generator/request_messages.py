"""The requests that are sent: serialised once for each image, intact or corrupt."""

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
# Every image format is recognised by its first bytes; without them no decoder can read a file.
_CORRUPTED_BYTES = 16
# Batches repeat after at most as many requests as there are images.
_CACHED_REQUESTS = 1024


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """A request that is ready to be sent.

    Attributes:
        body: the serialised request; that of a stream lacks its correlation id.
        images: the indices in the plan of its images.
        corrupt: whether the images were made undecodable.
    """

    body: bytes
    images: tuple[int, ...]
    corrupt: bool


class RequestMessages:
    """Returns requests with the images in turn, some of them corrupt; for one thread at a time.

    Args:
        plan: the images, and the share of corrupt ones.
        index: of the generator process; each begins with another image.
        processes: the number of generator processes.

    Raises:
        OSError: if an image cannot be read.
    """

    def __init__(self, plan: Plan, index: int, processes: int) -> None:
        self._plan = plan
        self._files = [path.read_bytes() for path in plan.pictures]
        self._position = len(self._files) * index // processes
        self._rng = random.Random(f"{plan.seed} spoilt {index}")
        self._cached = lru_cache(maxsize=_CACHED_REQUESTS)(self._make)

    def next(self) -> RequestMessage:
        """Returns the next request."""
        position, count = self._position, self._plan.images_per_call
        self._position = (position + count) % len(self._files)
        if self._plan.corrupt_rate and self._rng.random() < self._plan.corrupt_rate:
            return self._make(position, True)
        return self._cached(position, False)

    def _make(self, position: int, corrupt: bool) -> RequestMessage:
        images = tuple((position + step) % len(self._files) for step in range(self._plan.images_per_call))
        files = [self._corrupted(self._files[index]) if corrupt else self._files[index] for index in images]
        return RequestMessage(request_body(self._plan, files), images, corrupt)

    def _corrupted(self, file: bytes) -> bytes:
        """Truncates a file in its header or inverts its first bytes; no decoder can read either."""
        if self._rng.random() < 0.5:
            return file[: self._rng.randint(1, _CORRUPTED_BYTES - 1)]
        return bytes(byte ^ 0xFF for byte in file[:_CORRUPTED_BYTES]) + file[_CORRUPTED_BYTES:]


def request_body(plan: Plan, files: Sequence[bytes]) -> bytes:
    """Returns the plan's serialised request for these files."""
    images = [messages.Image(encoded=file) for file in files]
    if plan.rpc == "batch":
        return _serialize(messages.ClassifyBatchRequest(images=images), plan)
    message_type = messages.StreamClassifyRequest if plan.rpc == "stream" else messages.ClassifyRequest
    return _serialize(message_type(image=images[0]), plan)


def _serialize(
    request: messages.ClassifyRequest | messages.ClassifyBatchRequest | messages.StreamClassifyRequest, plan: Plan
) -> bytes:
    """Sets the fields that the three requests have in common."""
    request.model = plan.model
    request.version = plan.version
    request.top_k = plan.top_k
    request.priority = _PRIORITIES[plan.priority]
    return request.SerializeToString()
