"""The share of a measurement that one generator process sends, in an open or a closed loop.

Does not know gRPC, other processes or real time: connections and the clock are passed in.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from linnaeus.client.load.generator.call import Call
from linnaeus.client.load.generator.call_outcomes import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    OutcomeChecker,
)
from linnaeus.client.load.generator.clock import Clock
from linnaeus.client.load.generator.failure_reasons import FailureReasons
from linnaeus.client.load.generator.process_messages import Update
from linnaeus.client.load.generator.records import CallOutcome, Records, TopClass
from linnaeus.client.load.generator.request_messages import RequestMessages
from linnaeus.client.load.generator.timers import Timers
from linnaeus.client.load.generator.unary_calls import Caller, Results, failed
from linnaeus.client.load.plan import Plan

UPDATE_INTERVAL_SECONDS = 0.25
# Most cancelled calls are then waiting or running; some have not arrived, some were answered.
MEAN_SECONDS_TO_CANCEL = 0.005
# A generator that lags behind at the end may still send what was due, for this long; more would extend the measurement.
GRACE_SECONDS = 0.25
# gRPC ends a call at its deadline. This much later, the load tester ends it itself.
END_TIMEOUT_SECONDS = 5.0


class LoadGenerator:
    """Sends one process's share. One thread runs it, calls end in others; any thread may use `stop` and `cancel_all`.

    Invariants:
        - every request that is sent is recorded once for each of its images;
        - latency counts from the scheduled time of a call, however late it was sent;
        - in an open loop the times are given; in a closed loop each caller sends when its last call has ended.

    Args:
        plan: the whole plan.
        messages: the requests.
        callers: the connections, used in turn.
        clock: time from the start of the measurement.
        report: called about four times a second, in the thread that runs the generator.
        seed: of cancellations.
    """

    def __init__(
        self,
        plan: Plan,
        messages: RequestMessages,
        callers: Sequence[Caller],
        clock: Clock,
        report: Callable[[Update], None],
        seed: str = "",
    ) -> None:
        self._plan = plan
        self._messages = messages
        self._callers = callers
        self._clock = clock
        self._report = report
        self._rng = random.Random(f"{plan.seed} cancel {seed}")
        self._checker = OutcomeChecker(plan.deadline_seconds)
        self._lock = threading.Lock()
        self._records = Records()
        self._failures = FailureReasons()
        self._in_flight: set[Call] = set()
        self._timers = Timers(clock)
        self._is_sending = True
        self._is_closed_loop = False
        self._waits_for_slot = False
        self.was_full = False
        self.not_sent = 0

    @property
    def first_answers(self) -> dict[int, TopClass]:
        """The first answer for each image, by the image's index in the plan."""
        return self._checker.first_answers

    def run_open_loop(self, times: Iterator[float], max_in_flight: int) -> None:
        """Sends at the given times, in ascending order; returns when all calls have ended.

        Args:
            times: in seconds from the start of the measurement.
            max_in_flight: the maximum number of requests in flight; a further one is delayed.
        """
        self._schedule_update()
        for index, scheduled in enumerate(times):
            self._sleep_until(scheduled)
            self._wait_for_slot(max_in_flight)
            if not self._is_sending:
                break
            if self._clock.now() > self._plan.duration_seconds + GRACE_SECONDS:
                self._count_not_sent(scheduled, times)
                break
            self._send(scheduled, index % len(self._callers))
        self._drain()

    def run_closed_loop(self, concurrency: int) -> None:
        """Keeps `concurrency` requests in flight from the start of the warm-up; returns when all calls have ended."""
        self._schedule_update()
        self._sleep_until(-self._plan.warmup_seconds)
        self._is_closed_loop = True
        for caller in range(concurrency):
            if self._is_sending:
                self._send(self._clock.now(), caller % len(self._callers))
        self._sleep_until(self._plan.duration_seconds)
        self._drain()

    def schedule(self, when: float, callback: Callable[[], object]) -> None:
        """Schedules a callback in the thread that runs the generator."""
        self._timers.schedule(when, callback)

    def stop(self) -> None:
        """Sends nothing more."""
        with self._lock:
            self._is_sending = False
        self._timers.wake()

    def cancel_all(self) -> None:
        """Sends nothing more and cancels the calls in flight."""
        self.stop()
        self._timers.schedule(self._clock.now(), self._cancel_in_flight)

    def _handle_end(self, call: Call, results: Results) -> None:
        """Records the end of a call; in a closed loop, sends the caller's next one."""
        now = self._clock.now()
        next_call = None
        with self._lock:
            if call not in self._in_flight:
                return
            self._record(call, results, now - call.scheduled)
            self._in_flight.remove(call)
            # In one step with the removal: otherwise `_drain` could find no call between two calls of a caller.
            if self._is_closed_loop and self._is_sending and now < self._plan.duration_seconds:
                next_call = self._add_call(now, call.caller)
        if self._waits_for_slot or not self._is_sending:
            self._timers.wake()
        if next_call is not None:
            self._start(next_call)

    def _send(self, scheduled: float, caller: int) -> None:
        with self._lock:
            call = self._add_call(scheduled, caller)
        self._start(call)

    def _add_call(self, scheduled: float, caller: int) -> Call:
        call = Call(self._messages.next(), scheduled, self._clock.now(), caller)
        self._in_flight.add(call)
        if self._plan.cancel_rate and self._rng.random() < self._plan.cancel_rate:
            call.cancel_at = call.sent + self._rng.expovariate(1.0 / MEAN_SECONDS_TO_CANCEL)
        return call

    def _start(self, call: Call) -> None:
        on_end = partial(self._handle_end, call)
        call.on_cancel = self._callers[call.caller].start(call.message, self._plan.deadline_seconds, on_end)
        if call.cancel_at is not None:
            self._timers.schedule(call.cancel_at, call.cancel)

    def _record(self, call: Call, results: Results, latency: float) -> None:
        lag = call.sent - call.scheduled
        for image, (code, top, sentence) in zip(call.message.images, results, strict=True):
            if call.was_cancelled and code == CANCELLED:
                outcome = CallOutcome.CANCELLED
            elif call.message.corrupt:
                outcome = self._checker.outcome_of_corrupt(code)
            else:
                outcome = self._checker.outcome(code, top, image, latency)
            self._records.add(call.scheduled, lag, latency, outcome, code)
            if 0 <= call.scheduled < self._plan.duration_seconds:
                picture = self._plan.pictures[image].name if code == INVALID_ARGUMENT else ""
                self._failures.add(outcome, code, sentence, picture)

    def _wait_for_slot(self, max_in_flight: int) -> None:
        while self._is_sending and len(self._in_flight) >= max_in_flight:
            self.was_full = self._waits_for_slot = True
            # Checked again after the flag is set: a call that ended before that did not wake this thread.
            if len(self._in_flight) >= max_in_flight:
                self._timers.wait(UPDATE_INTERVAL_SECONDS)
            self._waits_for_slot = False

    def _count_not_sent(self, first: float, rest: Iterator[float]) -> None:
        missed = (first >= 0) + sum(scheduled >= 0 for scheduled in rest)
        self.not_sent = missed * self._plan.images_per_call

    def _sleep_until(self, when: float) -> None:
        self._timers.run_due()
        while self._is_sending and (remaining := when - self._clock.now()) > 0:
            self._timers.wait(remaining)

    def _drain(self) -> None:
        self.stop()
        ends_at = self._clock.now() + self._plan.deadline_seconds + END_TIMEOUT_SECONDS
        self._timers.schedule(ends_at, self._expire_in_flight)
        while self._in_flight:
            self._timers.wait(UPDATE_INTERVAL_SECONDS)
        self._send_update()

    def _cancel_in_flight(self) -> None:
        for call in self._calls_in_flight():
            call.cancel()

    def _expire_in_flight(self) -> None:
        """Ends calls that gRPC should have ended at their deadline."""
        for call in self._calls_in_flight():
            late = failed(DEADLINE_EXCEEDED, len(call.message.images), "no answer came within the deadline")
            self._handle_end(call, late)
            call.cancel()

    def _calls_in_flight(self) -> list[Call]:
        with self._lock:
            return list(self._in_flight)

    def _schedule_update(self) -> None:
        self._timers.schedule(self._clock.now() + UPDATE_INTERVAL_SECONDS, self._update_periodically)

    def _update_periodically(self) -> None:
        for caller in self._callers:
            caller.expire()
        self._send_update()
        self._schedule_update()

    def _send_update(self) -> None:
        with self._lock:
            records, self._records = self._records, Records()
            failures, self._failures = self._failures, FailureReasons()
            in_flight = len(self._in_flight)
        self._report(Update(records, in_flight, failures))
