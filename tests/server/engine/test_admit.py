"""Tests of admission: tickets, and refusals with figures from the latency table."""

from typing import Any

import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.engine.admit import admit
from linnaeus.server.errors import DeadlineExceeded, Overloaded, Unavailable
from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue, DecodeWork, LaneLimits, LatencyTable, Priority

ENTRY = Entry("lenet", 1, ModelState.READY)
SPEC = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
NOW = 100.0
RUN_SECONDS = 0.1
WORK = DecodeWork("PNG plain", 784)


@pytest.fixture
def queue() -> BatchQueue[RequestPayload]:
    """A queue with one device, one image per batch, 0.1 s per batch and four places."""
    made: BatchQueue[RequestPayload] = BatchQueue(lambda: NOW)
    made.add_device("cpu", 1)
    made.open_lane(ENTRY.lane, LaneLimits(max_batch_size=1, max_queue_size=4), {"cpu": LatencyTable({1: RUN_SECONDS})})
    return made


def admit_one(
    queue: BatchQueue[RequestPayload], deadline: float | None = None, priority: Priority = Priority.NORMAL
) -> Any:
    image = EncodedImage(b"four")
    answer: Any = None
    payload = RequestPayload(1, image, SPEC, 5, answer)
    return admit(queue, ENTRY.lane, payload, deadline, priority, WORK, "")


def test_a_ticket_has_the_deadline_priority_work_and_prediction_of_its_request(
    queue: BatchQueue[RequestPayload],
) -> None:
    admit_one(queue)
    ticket = admit_one(queue, NOW + 5, Priority.LOW)
    assert (ticket.lane, ticket.deadline, ticket.priority, ticket.work) == (ENTRY.lane, NOW + 5, Priority.LOW, WORK)
    assert ticket.predicted_at == pytest.approx(NOW + 2 * RUN_SECONDS, abs=0.001)


def test_a_full_queue_refusal_states_the_number_of_images_and_the_wait(queue: BatchQueue[RequestPayload]) -> None:
    for _ in range(4):
        admit_one(queue)
    with pytest.raises(Overloaded) as refusal:
        admit_one(queue, NOW + 60)
    assert str(refusal.value) == "model lenet has 4 images waiting, as many as it may; try again later"
    assert refusal.value.retry_after_seconds == pytest.approx(4 * RUN_SECONDS, abs=0.001)


def test_the_retry_delay_of_a_full_queue_has_a_minimum() -> None:
    queue: BatchQueue[RequestPayload] = BatchQueue(lambda: NOW)
    queue.add_device("cpu", 1)
    queue.open_lane(ENTRY.lane, LaneLimits(max_batch_size=1, max_queue_size=1), {"cpu": LatencyTable({1: 1e-6})})
    admit_one(queue)
    with pytest.raises(Overloaded) as refusal:
        admit_one(queue)
    assert refusal.value.retry_after_seconds == 0.01


def test_a_deadline_that_cannot_be_met_is_refused_with_the_predicted_wait(queue: BatchQueue[RequestPayload]) -> None:
    for _ in range(3):
        admit_one(queue, NOW + 0.4)
    with pytest.raises(DeadlineExceeded) as refusal:
        admit_one(queue, NOW + 0.4)
    wait = refusal.value.wait_seconds
    assert wait >= 0.4 and refusal.value.late_by_seconds == pytest.approx(wait - 0.4)
    assert str(refusal.value) == (
        f"model lenet is expected to answer in {wait:.3f} s, but the deadline is in 0.400 s; "
        "allow more time or send less"
    )


def test_the_predicted_wait_grows_with_the_number_of_images_ahead(queue: BatchQueue[RequestPayload]) -> None:
    times = [admit_one(queue, NOW + 60.0).predicted_at for _ in range(3)]
    assert [time - NOW for time in times if time is not None] == pytest.approx(
        [RUN_SECONDS, 2 * RUN_SECONDS, 3 * RUN_SECONDS], abs=0.001
    )


def test_a_deadline_that_has_passed_is_refused_with_a_message_of_its_own(queue: BatchQueue[RequestPayload]) -> None:
    with pytest.raises(DeadlineExceeded) as refusal:
        admit_one(queue, NOW - 2)
    assert str(refusal.value) == "the deadline had passed when the request arrived; allow more time"
    assert refusal.value.late_by_seconds == 2.0


def test_a_refused_request_takes_no_place_in_the_queue(queue: BatchQueue[RequestPayload]) -> None:
    for deadline in (NOW - 1, NOW + RUN_SECONDS / 2):
        with pytest.raises(DeadlineExceeded):
            admit_one(queue, deadline)
    assert queue.depth(ENTRY.lane) == 0


def test_with_no_device_left_requests_are_refused_as_unavailable(queue: BatchQueue[RequestPayload]) -> None:
    queue.remove_device("cpu")
    with pytest.raises(Unavailable, match="every device that runs model lenet has failed; try another") as refusal:
        admit_one(queue)
    assert refusal.value.retry_after_seconds > 0


def test_a_stopping_server_refuses_requests_as_unavailable(queue: BatchQueue[RequestPayload]) -> None:
    queue.close()
    with pytest.raises(Unavailable, match="the server is stopping; try another one") as refusal:
        admit_one(queue)
    assert refusal.value.retry_after_seconds > 0
