"""The queue with many threads: each ticket ends exactly once, and closing ends all threads."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from blocked_thread import TIMEOUT_SECONDS

from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable, Priority, Stage, Ticket


class EndCounter:
    """Counts how often each ticket ended, records which were cancelled before, and signals when all have ended."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Lock()
        self._expected = expected
        self.times: Counter[str] = Counter()
        self.cancelled: dict[str, Stage] = {}
        self.all = threading.Event()

    def add(self, tickets: list[Ticket[str]]) -> None:
        with self._lock:
            self.times.update(ticket.payload for ticket in tickets)
            self._set_if_all_ended()

    def add_cancelled(self, ticket: Ticket[str], stage: Stage) -> None:
        with self._lock:
            if stage is not Stage.ENDED:
                self.cancelled[ticket.payload] = stage
            self._set_if_all_ended()

    def _set_if_all_ended(self) -> None:
        if len(self.times.keys() | self.cancelled.keys()) == self._expected:
            self.all.set()


@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_with_many_threads_each_ticket_ends_once_and_all_threads_return(delay: float) -> None:
    callers, each = 4, 750
    queue: BatchQueue[str] = BatchQueue(decoders=3)
    for lane in "abc":
        tables = {device: LatencyTable({1: 1e-5, 4: 2e-5}) for device in "def"}
        queue.open_lane(lane, LaneLimits(4, callers * each, delay), tables)
    for device in "def":
        queue.add_device(device, 2)
    ends = EndCounter(callers * each)
    errors: list[BaseException] = []

    def start_thread(work: Callable[[], None]) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
                ends.all.set()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread

    def decode() -> None:
        while (turn := queue.next_to_decode()) is not None:
            ends.add(turn.late)
            queue.put(dict.fromkeys(turn.tickets, 1e-6))

    def serve(device: str) -> None:
        batch: Batch[str] | None = None
        batches = 0
        while (batch := queue.take(device, batch)) is not None:
            batches += 1
            if device == "f" and batches > 20:  # this device fails
                ends.add(batch.late)
                ends.add(queue.remove_device("f", batch))
                return
            queue.mark_answered(batch.tickets)
            ends.add(batch.tickets + batch.late)

    def call(caller: int) -> None:
        for number in range(each):
            name = f"{caller}.{number}"
            ticket = queue.admit("abc"[number % 3], name, None, Priority(number % 3))
            queue.notify()
            if number % 7 == 0:
                ends.add_cancelled(ticket, queue.cancel(ticket))

    workers = [start_thread(decode) for _ in range(3)] + [start_thread(lambda d=d: serve(d)) for d in "ddeeff"]
    senders = [start_thread(lambda caller=caller: call(caller)) for caller in range(callers)]
    assert ends.all.wait(timeout=60.0), "tickets were forgotten"
    queue.close()
    for thread in [*senders, *workers]:
        thread.join(timeout=TIMEOUT_SECONDS)
    assert errors == []
    assert not any(thread.is_alive() for thread in [*senders, *workers])
    assert set(ends.times.values()) == {1}
    assert all(stage is Stage.TAKEN for name, stage in ends.cancelled.items() if name in ends.times)
    assert [queue.depth(lane) for lane in "abc"] == [0, 0, 0]
