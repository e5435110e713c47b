"""`classify_batch`: which images are sent in which ClassifyBatch call, and which of them are sent again.

Makes no call: the clients send what `next_request` returns and pass on the response or the error.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from linnaeus.client.bulk.outcome import Outcome, PendingImage
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, Overloaded, ServerFailure, Unavailable
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol.requests import RequestOptions, classify_request
from linnaeus.client.protocol.responses import read_image_result
from linnaeus.client.results import Classification
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.message_size import DEFAULT_MESSAGE_BYTES
from linnaeus.v1 import classifier_pb2 as messages

# The tag and the length of each image in the message.
_FIELD_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    pending: PendingImage
    request: messages.ClassifyRequest
    sends: int = 0


class Batch:
    """The images of one `classify_batch`, from the first call to the last.

    Invariants:
        - images are read call by call, not ahead;
        - an image that was answered is never sent again; one that the server refused is, up to three times;
        - once `next_request` has returned None, every image has one outcome.

    Args:
        config: the client's.
        images: the images.
        options: the fields that all requests share.
        deadline: of all calls together.
    """

    def __init__(
        self, config: ClientConfig, images: Iterable[ImageSource], options: RequestOptions, deadline: Deadline
    ) -> None:
        self._config = config
        self._options = options
        self._deadline = deadline
        self._started = time.perf_counter()
        self._unread = enumerate(images)
        self._unsent: deque[_Image] = deque()
        self._refused: list[_Image] = []
        self._sent: list[_Image] = []
        self._outcomes: dict[int, Outcome] = {}
        self._retry_at_seconds = 0.0

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes so far, in the order of the images."""
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    @property
    def delay_seconds(self) -> float:
        """The wait before the request that `next_request` returned; above 0 for a retry that the server delayed."""
        if self._sent[0].sends == 1:
            return 0.0
        return max(self._retry_at_seconds - self._deadline.clock(), 0.0)

    def next_request(self) -> messages.ClassifyBatchRequest | None:
        """Returns the next request; None if every image has an outcome."""
        taken = list(self._take())
        if not taken and self._refused:
            self._unsent.extend(self._refused)
            self._refused = []
            taken = list(self._take())
        self._sent = [replace(image, sends=image.sends + 1) for image in taken]
        if not self._sent:
            return None
        first = self._sent[0].request
        return messages.ClassifyBatchRequest(
            images=[image.request.image for image in self._sent],
            model=first.model,
            version=first.version,
            top_k=first.top_k,
            priority=first.priority,
            min_probability=first.min_probability,
            want_features=first.want_features,
        )

    def handle_response(self, response: messages.ClassifyBatchResponse) -> None:
        """Processes the response to the last request."""
        if len(response.results) != len(self._sent):
            text = f"the server answered {len(response.results)} pictures of {len(self._sent)}"
            self.handle_error(ServerFailure(f"{text}: is it a Linnaeus server?"))
            return
        for image, result in zip(self._sent, response.results, strict=True):
            self._handle_result(image, result, response)

    def handle_error(self, error: LinnaeusError) -> None:
        """Processes the failure of the last request.

        Every image in it has this error, or is sent again if the server refused them all. gRPC has already sent an
        unavailable server the request again.
        """
        for image in self._sent:
            if isinstance(error, Overloaded):
                self._handle_failure(image, error)
            else:
                self._end(image.pending, error)

    def _take(self) -> Iterator[_Image]:
        """Yields the images that fit into the next request."""
        limit = self._config.limit
        free_bytes = limit.bytes if limit.server_is_known else min(limit.bytes, DEFAULT_MESSAGE_BYTES)
        for count in range(limit.batch_images):
            image = self._next_image()
            if image is None:
                return
            size_bytes = image.request.ByteSize() + _FIELD_BYTES
            if count and size_bytes > free_bytes:
                self._unsent.appendleft(image)
                return
            free_bytes -= size_bytes
            yield image

    def _next_image(self) -> _Image | None:
        """Returns the next image that can be read; None at the end."""
        if self._unsent:
            return self._unsent.popleft()
        for index, source in self._unread:
            pending = PendingImage(index, source, self._started)
            try:
                request = classify_request(source, self._options, limit_bytes=self._config.limit.bytes)
                return _Image(pending, request)
            except LinnaeusError as error:
                self._end(pending, error)
        return None

    def _handle_result(
        self, image: _Image, result: messages.ImageResult, response: messages.ClassifyBatchResponse
    ) -> None:
        try:
            answer = self._read(result, response)
        except LinnaeusError as error:
            self._handle_failure(image, error)
        else:
            self._config.retry_budget.record_answer()
            self._end(image.pending, answer)

    def _handle_failure(self, image: _Image, error: LinnaeusError) -> None:
        if not self._schedule_retry(image, error):
            self._end(image.pending, error)

    def _read(self, result: messages.ImageResult, response: messages.ClassifyBatchResponse) -> Classification:
        if result.WhichOneof("outcome") != "classification":
            raise self._config.image_error(result.error, self._deadline.timeout_seconds)
        return read_image_result(result, response.model, response.version)

    def _schedule_retry(self, image: _Image, error: LinnaeusError) -> bool:
        """Schedules a retry if the server refused the image and said when to send it again, within the deadline."""
        wait_seconds = _wait_seconds(error)
        budget = self._config.retry_budget
        delay_seconds = budget.delay_seconds(wait_seconds, sends=image.sends, deadline=self._deadline)
        if delay_seconds is None:
            return False
        self._refused.append(image)
        self._retry_at_seconds = max(self._retry_at_seconds, self._deadline.clock() + delay_seconds)
        return True

    def _end(self, pending: PendingImage, answer: Classification | LinnaeusError) -> None:
        self._outcomes[pending.index] = pending.outcome(answer)


def _wait_seconds(error: LinnaeusError) -> float | None:
    """Returns the wait after which the server takes an image that it refused; None if it must not be sent again."""
    if isinstance(error, Overloaded):
        return error.resend_after_seconds
    return error.retry_after_seconds if isinstance(error, Unavailable) else None
