"""The queue's refusals are sentences with numbers from the latency table."""

from typing import Any

import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.engine.admit import admit
from linnaeus.server.errors import DeadlineExceeded, Overloaded, Unavailable
from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.requests.request import Request, RequestPayload
from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable, Priority

ENTRY = Entry("lenet", 1, ModelState.READY)
SPEC = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
NOW = 100.0
RUN_SECONDS = 0.1


@pytest.fixture
def queue() -> BatchQueue[RequestPayload]:
    """One device, one image a batch, 0.1 s each, four places."""
    made: BatchQueue[RequestPayload] = BatchQueue(lambda: NOW)
    made.add_device("cpu", 1)
    made.open_lane(ENTRY.lane, LaneLimits(max_batch_size=1, max_queue_size=4), {"cpu": LatencyTable({1: RUN_SECONDS})})
    return made


def ask(queue: BatchQueue[RequestPayload], deadline: float | None = None, priority: Priority = Priority.NORMAL) -> Any:
    image = EncodedImage(b"four")
    answer: Any = None
    payload = RequestPayload(1, image, SPEC, 5, answer)
    return admit(queue, ENTRY, Request(image, deadline=deadline, priority=priority), payload)


def test_what_is_admitted_keeps_its_deadline_priority_and_size_and_is_predicted(
    queue: BatchQueue[RequestPayload],
) -> None:
    ask(queue)
    ticket = ask(queue, NOW + 5, Priority.LOW)
    assert (ticket.lane, ticket.deadline, ticket.priority, ticket.size) == (ENTRY.lane, NOW + 5, Priority.LOW, 4)
    assert ticket.predicted_at == pytest.approx(NOW + 2 * RUN_SECONDS)


def test_a_full_queue_says_how_many_it_holds_and_how_long_those_will_take(queue: BatchQueue[RequestPayload]) -> None:
    for _ in range(4):
        ask(queue)
    with pytest.raises(Overloaded) as refusal:
        ask(queue, NOW + 60)
    assert str(refusal.value) == "model lenet has 4 images waiting, as many as it may; try again later"
    assert refusal.value.retry_after_seconds == pytest.approx(4 * RUN_SECONDS)


def test_who_is_told_to_come_back_is_never_told_to_do_so_at_once() -> None:
    queue: BatchQueue[RequestPayload] = BatchQueue(lambda: NOW)
    queue.add_device("cpu", 1)
    queue.open_lane(ENTRY.lane, LaneLimits(max_batch_size=1, max_queue_size=1), {"cpu": LatencyTable({1: 1e-6})})
    ask(queue)
    with pytest.raises(Overloaded) as refusal:
        ask(queue)
    assert refusal.value.retry_after_seconds == 0.01


def test_a_deadline_that_cannot_be_met_is_refused_with_the_predicted_wait(queue: BatchQueue[RequestPayload]) -> None:
    for _ in range(3):
        ask(queue, NOW + 0.4)
    with pytest.raises(DeadlineExceeded) as refusal:
        ask(queue, NOW + 0.4)
    wait = refusal.value.wait_seconds
    assert wait >= 0.4 and refusal.value.late_by_seconds == pytest.approx(wait - 0.4)
    assert str(refusal.value) == (
        f"model lenet is expected to answer in {wait:.3f} s, but the deadline is in 0.400 s; "
        "allow more time or send less"
    )


def test_the_predicted_wait_grows_with_what_is_ahead(queue: BatchQueue[RequestPayload]) -> None:
    waits = [ask(queue).predicted_at - NOW for _ in range(3)]
    assert waits == pytest.approx([RUN_SECONDS, 2 * RUN_SECONDS, 3 * RUN_SECONDS])


def test_a_deadline_that_has_passed_is_told_so(queue: BatchQueue[RequestPayload]) -> None:
    with pytest.raises(DeadlineExceeded) as refusal:
        ask(queue, NOW - 2)
    assert str(refusal.value) == "the deadline had passed when the request arrived; allow more time"
    assert refusal.value.late_by_seconds == 2.0


def test_a_refusal_holds_no_place(queue: BatchQueue[RequestPayload]) -> None:
    for deadline in (NOW - 1, NOW + RUN_SECONDS / 2):
        with pytest.raises(DeadlineExceeded):
            ask(queue, deadline)
    assert queue.depth(ENTRY.lane) == 0


def test_with_no_device_left_callers_are_sent_elsewhere(queue: BatchQueue[RequestPayload]) -> None:
    queue.remove_device("cpu")
    with pytest.raises(Unavailable, match="every device that runs model lenet has failed; try another") as refusal:
        ask(queue)
    assert refusal.value.retry_after_seconds > 0


def test_a_stopping_server_sends_callers_elsewhere(queue: BatchQueue[RequestPayload]) -> None:
    queue.close()
    with pytest.raises(Unavailable, match="the server is stopping; try another one") as refusal:
        ask(queue)
    assert refusal.value.retry_after_seconds > 0
