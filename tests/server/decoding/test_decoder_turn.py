"""A decoder hands images on as they are ready, decodes nothing that was abandoned, and gives back after a slow one."""

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decoder_turn import DecoderTurn
from linnaeus.server.errors import DeadlineExceeded, InvalidImage, RequestError, Unavailable
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import BatchQueue, DecodeTurn, DecodeWork, LaneLimits, LatencyTable, Stage

LANE = ("fake", 1)
SMALL = DecodeWork("pixels", 100)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
QUICK_SECONDS = 0.00001


class TurnHarness:
    """A turn of several images; `seconds` says how long decoding each takes, `during` what happens meanwhile.

    `events` has, in order: the number of each image that was decoded, the list of those handed on together, and the
    list of those given back as a tuple.
    """

    def __init__(self) -> None:
        self.now = 1.0
        self.queue: BatchQueue[RequestPayload] = BatchQueue(lambda: self.now)
        self.queue.add_device("fake:0", 1)
        self.queue.open_lane(LANE, LaneLimits(16, 100), {"fake:0": LatencyTable({1: 1e-6, 16: 1e-6})})
        self.seconds: dict[int, float] = {}
        self.during: dict[int, Callable[[], Any]] = {}
        self.refused: dict[int, RequestError] = {}
        self.events: list[Any] = []
        self.failures: dict[int, RequestError] = {}
        self._teach_that_decoding_is_quick()

    def admit(self, number: int, timeout: float | None = None) -> RequestTicket:
        future: Any = None  # not used: nothing delivers results
        payload = RequestPayload(number, RawPixels(b"", 2, 2, 1), SPEC, 1, future)
        return self.queue.admit(LANE, payload, None if timeout is None else self.now + timeout, work=SMALL)

    def take(self) -> DecodeTurn[RequestPayload]:
        turn = self.queue.next_to_decode_nowait()
        assert turn is not None
        return turn

    def run(self, turn: DecodeTurn[RequestPayload]) -> DecoderTurn:
        made = DecoderTurn(turn, self._watched_queue(), self._decode, self._fail, lambda: self.now)
        made.run()
        return made

    def _decode(self, payload: RequestPayload) -> float | RequestError:
        self.events.append(payload.number)
        seconds = self.seconds.get(payload.number, QUICK_SECONDS)
        self.now += seconds
        self.during.get(payload.number, lambda: None)()
        payload.pixels = numpy.zeros((2, 2, 1), numpy.uint8)
        return self.refused.get(payload.number, seconds)

    def _fail(self, ticket: RequestTicket, error: RequestError) -> None:
        self.queue.cancel(ticket, by_caller=False)
        self.failures[ticket.payload.number] = error

    def _watched_queue(self) -> Any:
        harness = self

        class Watched:
            def put(self, decoded: dict[RequestTicket, float]) -> list[RequestTicket]:
                harness.events.append([ticket.payload.number for ticket in decoded])
                return harness.queue.put(decoded)

            def give_back(self, tickets: Any) -> list[RequestTicket]:
                harness.events.append(tuple(ticket.payload.number for ticket in tickets))
                return harness.queue.give_back(tickets)

        return Watched()

    def _teach_that_decoding_is_quick(self) -> None:
        first = self.admit(0)
        assert self.take().tickets == [first]
        self.queue.put({first: QUICK_SECONDS})
        batch = self.queue.take_nowait("fake:0")
        self.queue.take_nowait("fake:0", batch)


@pytest.fixture
def harness() -> TurnHarness:
    return TurnHarness()


def test_quick_images_are_handed_on_together(harness: TurnHarness) -> None:
    tickets = [harness.admit(number) for number in (1, 2, 3)]
    harness.run(harness.take())
    assert harness.events == [1, 2, 3, [1, 2, 3]]
    assert {ticket.stage for ticket in tickets} == {Stage.QUEUED}


def test_no_image_waits_longer_than_two_milliseconds_for_those_behind_it(harness: TurnHarness) -> None:
    for number in (1, 2, 3, 4, 5):
        harness.admit(number)
    harness.seconds = dict.fromkeys((1, 2, 3, 4, 5), 0.0012)
    harness.run(harness.take())
    assert harness.events == [1, 2, [1, 2], 3, 4, [3, 4], 5, [5]]


def test_after_a_slow_image_the_rest_of_the_turn_is_given_back(harness: TurnHarness) -> None:
    tickets = [harness.admit(number) for number in (1, 2, 3, 4)]
    harness.seconds[2] = 0.5
    left = harness.run(harness.take())
    assert harness.events == [1, 2, [1, 2], (3, 4)]
    assert [ticket.stage for ticket in tickets] == [Stage.QUEUED] * 2 + [Stage.ADMITTED] * 2
    assert left.unfinished() == []
    harness.run(harness.take())
    assert 3 in harness.events and tickets[2].stage is Stage.QUEUED


def test_a_slow_image_at_the_end_of_a_turn_gives_nothing_back(harness: TurnHarness) -> None:
    harness.admit(1), harness.admit(2)
    harness.seconds[2] = 0.5
    harness.run(harness.take())
    assert harness.events == [1, 2, [1, 2]]


def test_an_image_abandoned_during_the_turn_is_not_decoded(harness: TurnHarness) -> None:
    tickets = [harness.admit(number) for number in (1, 2, 3)]
    harness.during[1] = lambda: harness.queue.cancel(tickets[1])
    harness.run(harness.take())
    assert harness.events == [1, 3, [1, 3]] and harness.failures == {}
    assert tickets[1].stage is Stage.ENDED


def test_an_image_whose_deadline_passes_during_the_turn_is_not_decoded(harness: TurnHarness) -> None:
    harness.admit(1, timeout=0.001), harness.admit(2, timeout=0.002), harness.admit(3)
    harness.seconds[1] = 0.003
    turn = harness.take()
    assert len(turn.tickets) == 3
    harness.run(turn)
    assert harness.events == [1, [1], 3, [3]] and list(harness.failures) == [2]
    assert isinstance(harness.failures[2], DeadlineExceeded)
    assert str(harness.failures[2]).startswith("the image waited for a decoder")


def test_a_refused_image_fails_at_once_and_the_others_go_on(harness: TurnHarness) -> None:
    for number in (1, 2, 3):
        harness.admit(number)
    harness.refused[2] = InvalidImage("image.encoded", "bad")
    harness.during[3] = lambda: harness.events.append(dict(harness.failures))
    harness.run(harness.take())
    assert harness.events == [1, 2, 3, {2: harness.refused[2]}, [1, 3]]


@pytest.mark.parametrize("slow", [1, 2])
def test_images_without_a_device_fail_whether_they_were_decoded_or_not(harness: TurnHarness, slow: int) -> None:
    harness.admit(1), harness.admit(2), harness.admit(3)
    harness.seconds[slow] = 0.5
    harness.during[1] = lambda: harness.queue.remove_device("fake:0")
    left = harness.run(harness.take())
    assert set(harness.failures) == {1, 2, 3} and left.unfinished() == []
    assert all(isinstance(failure, Unavailable) for failure in harness.failures.values())
    assert harness.queue.depth(LANE) == 0


def test_images_that_a_fault_left_in_the_turn_are_known(harness: TurnHarness) -> None:
    tickets = [harness.admit(number) for number in (1, 2, 3)]
    turn = harness.take()

    class Broken:
        def put(self, decoded: object) -> list[RequestTicket]:
            raise ZeroDivisionError

    harness.seconds[2] = 0.001
    queue: Any = Broken()
    made = DecoderTurn(turn, queue, harness._decode, harness._fail, lambda: harness.now)
    with pytest.raises(ZeroDivisionError):
        made.run()
    assert made.unfinished() == tickets
