"""Many pictures in as few calls as they fit into: which go together, and what an answer means for each of them.

Makes no call and knows no channel: the clients send what `next_call` returns and say what came of it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.config import Core
from linnaeus.client.errors import LinnaeusError, Overloaded, ServerFailure, Unavailable
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol.responses import read_image_result
from linnaeus.client.results import Classification
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.message_limit import USUAL_MESSAGE_BYTES
from linnaeus.v1 import classifier_pb2 as messages

# As often as gRPC itself sends a call that is refused whole.
_MOST_TRIES = 4
# The tag and the length before each picture.
_FIELD_BYTES = 8

Build = Callable[[ImageSource], messages.ClassifyRequest]


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    index: int
    source: ImageSource
    request: messages.ClassifyRequest
    tries: int = 0


class Batch:
    """The pictures of one `classify_batch`, from first to last call.

    Invariants:
        - pictures are read call by call, no further ahead;
        - a picture that was answered is never sent again; one that the server refused may be, up to three times;
        - every picture has one outcome once `next_call` returned None.

    Args:
        core: the client's.
        images: the pictures.
        build: makes a picture's request; the pictures of one batch differ in nothing else.
        deadline: of all calls together.
    """

    def __init__(self, core: Core, images: Iterable[ImageSource], build: Build, deadline: Deadline) -> None:
        self._core = core
        self._build = build
        self._deadline = deadline
        self._started = time.perf_counter()
        self._unread = enumerate(images)
        self._waiting: deque[_Picture] = deque()
        self._refused: list[_Picture] = []
        self._sent: list[_Picture] = []
        self._outcomes: dict[int, Outcome] = {}
        self._again_at_seconds = 0.0

    @property
    def outcomes(self) -> list[Outcome]:
        """What is known by now, in the order of the pictures."""
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the call that `next_call` returned: the server said when to come back."""
        if not self._sent[0].tries:
            return 0.0
        return max(self._again_at_seconds - self._deadline.clock(), 0.0)

    def next_call(self) -> messages.ClassifyBatchRequest | None:
        """What to send next; None if nothing is left."""
        self._sent = list(self._take())
        if not self._sent and self._refused:
            self._waiting.extend(self._refused)
            self._refused = []
            self._sent = list(self._take())
        if not self._sent:
            return None
        question = self._sent[0].request
        return messages.ClassifyBatchRequest(
            images=[picture.request.image for picture in self._sent],
            model=question.model,
            version=question.version,
            top_k=question.top_k,
            priority=question.priority,
        )

    def answered(self, response: messages.ClassifyBatchResponse) -> None:
        """The call is answered."""
        if len(response.results) != len(self._sent):
            sentence = f"the server answered {len(response.results)} pictures of {len(self._sent)}"
            self.failed(ServerFailure(f"{sentence}: is it a Linnaeus server?"))
            return
        for picture, result in zip(self._sent, response.results, strict=True):
            self._keep(picture, result, response)

    def failed(self, error: LinnaeusError) -> None:
        """The call has no answer, and so none of its pictures."""
        for picture in self._sent:
            self._end(picture.index, picture.source, None, error)

    def _take(self) -> Iterator[_Picture]:
        """The pictures that fit into the next call."""
        limit = self._core.limit
        left_bytes = limit.bytes if limit.is_told else min(limit.bytes, USUAL_MESSAGE_BYTES)
        for place in range(limit.batch_images):
            picture = self._next()
            if picture is None:
                return
            size_bytes = picture.request.ByteSize() + _FIELD_BYTES
            if place and size_bytes > left_bytes:
                self._waiting.appendleft(picture)
                return
            left_bytes -= size_bytes
            yield picture

    def _next(self) -> _Picture | None:
        """The next picture that can be read."""
        if self._waiting:
            return self._waiting.popleft()
        for index, source in self._unread:
            try:
                return _Picture(index, source, self._build(source))
            except LinnaeusError as error:
                self._end(index, source, None, error)
        return None

    def _keep(self, picture: _Picture, result: messages.ImageResult, response: messages.ClassifyBatchResponse) -> None:
        try:
            self._end(picture.index, picture.source, self._read(result, response), None)
        except LinnaeusError as error:
            if not self._comes_back(picture, error):
                self._end(picture.index, picture.source, None, error)

    def _read(self, result: messages.ImageResult, response: messages.ClassifyBatchResponse) -> Classification:
        if result.WhichOneof("outcome") != "classification":
            raise self._core.image_error(result.error, self._deadline.seconds)
        return read_image_result(result, response.model, response.version)

    def _comes_back(self, picture: _Picture, error: LinnaeusError) -> bool:
        """Keeps a picture that the server refused and told when to send again, if there is time for it."""
        wait = error.retry_after_seconds
        may = isinstance(error, Overloaded | Unavailable) and picture.tries + 1 < _MOST_TRIES
        if not may or wait is None or wait >= self._deadline.left_seconds:
            return False
        self._refused.append(_Picture(picture.index, picture.source, picture.request, picture.tries + 1))
        self._again_at_seconds = max(self._again_at_seconds, self._deadline.clock() + wait)
        return True

    def _end(self, index: int, source: ImageSource, result: Classification | None, error: LinnaeusError | None) -> None:
        self._outcomes[index] = Outcome(index, source, result, error, time.perf_counter() - self._started)
