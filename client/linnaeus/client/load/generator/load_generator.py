"""One process's share of a spell: sends messages at set moments or from so many callers, and records their ends.

It must not know of gRPC, of other processes or of real time: callers and the clock are handed in.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence

from linnaeus.client.load.generator.call_outcomes import CANCELLED, DEADLINE_EXCEEDED, Judge
from linnaeus.client.load.generator.clock import Clock
from linnaeus.client.load.generator.records import News, Outcome, Records, Top
from linnaeus.client.load.generator.request_messages import Message, Messages
from linnaeus.client.load.generator.timers import Timers
from linnaeus.client.load.generator.unary_calls import Caller, Cancel, Results, failed
from linnaeus.client.load.plan import Plan

NEWS_PERIOD_SECONDS = 0.25
# Of cancelled calls: most are cut off while they wait or run, some before they arrive, some after they were answered.
MEAN_SECONDS_TO_CANCEL = 0.005
# A sender that is behind at the end may still send what was due, so long; more would stretch the spell.
GRACE_SECONDS = 0.25
# gRPC ends a call at its deadline; this much later the tester no longer trusts it to.
PATIENCE_SECONDS = 5.0


class Sender:
    """Sends one process's share; `run` on one thread, calls end on others, `stop` and `drop` on any.

    - Every message sent is recorded once for each picture it carries.
    - A call's latency runs from the moment it was meant to be sent, however late it left.
    - In an open loop the moments are given; in a closed one each of `callers_at_once` sends when its last call ended.

    Args:
        plan: the whole plan.
        messages: what to send.
        callers: connections, used in turn.
        clock: time, from the start of measuring.
        tell: gets what happened about four times a second, on the thread of `run`.
        seed: of cancellations.
    """

    def __init__(
        self,
        plan: Plan,
        messages: Messages,
        callers: Sequence[Caller],
        clock: Clock,
        tell: Callable[[News], None],
        seed: str = "",
    ) -> None:
        self._plan = plan
        self._messages = messages
        self._callers = callers
        self._clock = clock
        self._tell = tell
        self._chance = random.Random(f"{plan.seed} cancel {seed}")
        self._judge = Judge(plan.deadline_seconds)
        self._lock = threading.Lock()
        self._records = Records()
        self._flights: set[_Flight] = set()
        self._timers = Timers(clock)
        self._sending = True
        self._repeats = False
        self._waits_for_room = False
        self.was_full = False
        self.not_sent = 0

    @property
    def first_answers(self) -> dict[int, Top]:
        """What each picture was answered first, by its place in the plan."""
        return self._judge.first_answers

    def run_open(self, moments: Iterator[float], max_in_flight: int) -> None:
        """Sends at these moments, rising, with at most so many messages in flight; returns when all have ended."""
        self._tell_later()
        for index, moment in enumerate(moments):
            self._pause_until(moment)
            self._wait_for_room(max_in_flight)
            if not self._sending:
                break
            if self._clock.now() > self._plan.duration_seconds + GRACE_SECONDS:
                self._count_not_sent(moment, moments)
                break
            self._send(moment, index % len(self._callers))
        self._drain()

    def run_closed(self, callers_at_once: int) -> None:
        """Keeps so many messages in flight from the start of the warm-up to the end; returns when all have ended."""
        self._tell_later()
        self._pause_until(-self._plan.warmup_seconds)
        self._repeats = True
        for caller in range(callers_at_once):
            if self._sending:
                self._send(self._clock.now(), caller % len(self._callers))
        self._pause_until(self._plan.duration_seconds)
        self._drain()

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Has something done at a moment, on the thread of `run`."""
        self._timers.at(moment, action)

    def stop(self) -> None:
        """Sends nothing more."""
        with self._lock:
            self._sending = False
        self._timers.wake()

    def drop(self) -> None:
        """Sends nothing more and cancels what is in flight."""
        self.stop()
        self._timers.at(self._clock.now(), self._cancel_all)

    def _send(self, moment: float, lane: int) -> None:
        with self._lock:
            flight = self._take_off(moment, lane)
        self._launch(flight)

    def _take_off(self, moment: float, lane: int) -> "_Flight":
        flight = _Flight(self, self._messages.next(), moment, self._clock.now(), lane)
        self._flights.add(flight)
        if self._plan.cancel_rate and self._chance.random() < self._plan.cancel_rate:
            flight.to_cancel_at = flight.sent + self._chance.expovariate(1.0 / MEAN_SECONDS_TO_CANCEL)
        return flight

    def _launch(self, flight: "_Flight") -> None:
        flight.cancel = self._callers[flight.lane].begin(flight.message, self._plan.deadline_seconds, flight.end)
        if flight.to_cancel_at is not None:
            self._timers.at(flight.to_cancel_at, flight.give_up)

    def ended(self, flight: "_Flight", results: Results) -> None:
        """Takes in the end of a call, and sends the caller's next one in a closed loop."""
        now = self._clock.now()
        following = None
        with self._lock:
            if flight not in self._flights:
                return
            self._record(flight, results, now - flight.moment)
            self._flights.remove(flight)
            # In one step with the removal: else the drain could see no flight while a caller is between two.
            if self._repeats and self._sending and now < self._plan.duration_seconds:
                following = self._take_off(now, flight.lane)
        if self._waits_for_room or not self._sending:
            self._timers.wake()
        if following is not None:
            self._launch(following)

    def _record(self, flight: "_Flight", results: Results, latency: float) -> None:
        lag = flight.sent - flight.moment
        for picture, (code, top) in zip(flight.message.pictures, results, strict=True):
            if flight.given_up and code == CANCELLED:
                outcome = Outcome.CANCELLED
            elif flight.message.spoilt:
                outcome = self._judge.outcome_of_spoilt(code)
            else:
                outcome = self._judge.outcome(code, top, picture, latency)
            self._records.add(flight.moment, lag, latency, outcome, code)

    def _wait_for_room(self, max_in_flight: int) -> None:
        while self._sending and len(self._flights) >= max_in_flight:
            self.was_full = self._waits_for_room = True
            # Looked at again after the flag is up: a call that ended before that woke nobody.
            if len(self._flights) >= max_in_flight:
                self._timers.wait(NEWS_PERIOD_SECONDS)
            self._waits_for_room = False

    def _count_not_sent(self, first: float, rest: Iterator[float]) -> None:
        missed = (first >= 0) + sum(moment >= 0 for moment in rest)
        self.not_sent = missed * self._plan.images_per_call

    def _pause_until(self, moment: float) -> None:
        self._timers.run_due()
        while self._sending and (left := moment - self._clock.now()) > 0:
            self._timers.wait(left)

    def _drain(self) -> None:
        self.stop()
        patience_ends = self._clock.now() + self._plan.deadline_seconds + PATIENCE_SECONDS
        self._timers.at(patience_ends, self._abandon_all)
        while self._flights:
            self._timers.wait(NEWS_PERIOD_SECONDS)
        self._tell_news()

    def _cancel_all(self) -> None:
        for flight in self._flights_now():
            flight.give_up()

    def _abandon_all(self) -> None:
        """Ends what outlived its deadline though gRPC should have ended it."""
        for flight in self._flights_now():
            self.ended(flight, failed(DEADLINE_EXCEEDED, len(flight.message.pictures)))
            flight.give_up()

    def _flights_now(self) -> list["_Flight"]:
        with self._lock:
            return list(self._flights)

    def _tell_later(self) -> None:
        self._timers.at(self._clock.now() + NEWS_PERIOD_SECONDS, self._tell_often)

    def _tell_often(self) -> None:
        for caller in self._callers:
            caller.end_late()
        self._tell_news()
        self._tell_later()

    def _tell_news(self) -> None:
        with self._lock:
            records, self._records = self._records, Records()
            in_flight = len(self._flights)
        self._tell(News(records, in_flight))


class _Flight:
    """One message under way."""

    __slots__ = ("cancel", "given_up", "lane", "message", "moment", "sender", "sent", "to_cancel_at")

    def __init__(self, sender: Sender, message: Message, moment: float, sent: float, lane: int) -> None:
        self.sender = sender
        self.message = message
        self.moment = moment
        self.sent = sent
        self.lane = lane
        self.given_up = False
        self.to_cancel_at: float | None = None
        self.cancel: Cancel | None = None

    def end(self, results: Results) -> None:
        self.sender.ended(self, results)

    def give_up(self) -> None:
        if self.cancel is not None:
            self.given_up = True
            self.cancel()
