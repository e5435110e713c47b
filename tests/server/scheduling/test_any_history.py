"""The queue's invariants hold in random histories, with a clock that the test sets."""

from builders import TENTH_AN_IMAGE, FakeClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linnaeus.server.scheduling import (
    UNKNOWN_WORK,
    Batch,
    BatchQueue,
    DecodeTurn,
    DecodeWork,
    LaneLimits,
    LatencyTable,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
    TooLate,
)

MAX_QUEUE_SIZE = 6
WORKERS = 2
LIMITS = {"a": LaneLimits(3, MAX_QUEUE_SIZE), "b": LaneLimits(2, MAX_QUEUE_SIZE, 0.3, instances=1)}
WORKS = [DecodeWork("small", 100), DecodeWork("large", 10_000_000), UNKNOWN_WORK]
# The device `e` runs only `a`.
TABLES = {"a": "de", "b": "d"}


class AnyHistory(RuleBasedStateMachine):
    """Random arrivals, decoding, tickets given back, cancellations, batches, a lost device, the end of the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.displaced: list[Ticket[int]] = []
        self.turn: DecodeTurn[int] | None = None
        self.queue: BatchQueue[int] = BatchQueue(self.clock, on_displaced=self.displaced.append)
        for lane, limits in LIMITS.items():
            tables = {device: LatencyTable(TENTH_AN_IMAGE) for device in TABLES[lane]}
            self.queue.open_lane(lane, limits, tables)
        for device in "de":
            self.queue.add_device(device, WORKERS)
        self.devices = ["d", "e"]
        self.undecoded: list[Ticket[int]] = []
        self.decoding: list[Ticket[int]] = []
        self.decoded: list[Ticket[int]] = []
        self.running: list[Batch[int]] = []
        self.ended: list[Ticket[int]] = []
        self.admitted = 0
        self.closed = False

    @property
    def waiting(self) -> list[Ticket[int]]:
        return self.undecoded + self.decoding + self.decoded

    @rule(
        lane=st.sampled_from("ab"),
        timeout=st.none() | st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0, 3.0]),
        priority=st.sampled_from(Priority),
        caller=st.sampled_from(["", "somebody"]),
        work=st.sampled_from([None, *WORKS]),
    )
    def admit(
        self,
        lane: str,
        timeout: float | None,
        priority: Priority,
        caller: str = "",
        work: DecodeWork | None = UNKNOWN_WORK,
    ) -> None:
        waiting = [ticket for ticket in self.waiting if ticket.lane == lane]
        deadline = None if timeout is None else self.clock.now + timeout
        try:
            ticket = self.queue.admit(lane, self.admitted, deadline, priority, work, caller)
        except QueueClosed:
            assert self.closed
        except NoDevice:
            assert not set(TABLES[lane]) & set(self.devices)
        except QueueFull as refusal:
            assert refusal.held == len(waiting) >= MAX_QUEUE_SIZE  # more if a device's tickets were requeued
            counts_as = max(priority, Priority.NORMAL)  # if the caller is above its share
            assert all(ticket.priority <= counts_as for ticket in waiting), "a lower priority would have made room"
        except TooLate as refusal:
            assert timeout is not None and refusal.wait_seconds >= refusal.allowed_seconds
        else:
            assert not self.closed and timeout != 0.0
            assert len(self.displaced) == (len(waiting) >= MAX_QUEUE_SIZE), "only a full lane displaces, and one ticket"
            self.end_displaced(waiting, priority)
            (self.decoded if work is None and not ticket.held_until else self.undecoded).append(ticket)
            self.admitted += 1

    @invariant()
    def released_pixels_need_no_decoder(self) -> None:
        for ticket in [each for each in self.undecoded if each.stage is Stage.QUEUED]:
            assert ticket.work is None
            self.undecoded.remove(ticket)
            self.decoded.append(ticket)

    def end_displaced(self, waiting: list[Ticket[int]], priority: Priority) -> None:
        while self.displaced:
            ticket = self.displaced.pop()
            assert ticket in waiting and ticket.priority >= priority
            lowest = max(each.priority for each in waiting)
            assert ticket.priority == lowest
            self.end(ticket, next(kind for kind in (self.undecoded, self.decoding, self.decoded) if ticket in kind))

    @rule(lanes=st.sampled_from(["aaaa", "bbbbb", "abababab", "bba"]), timeout=st.sampled_from([None, 1.0, 3.0]))
    def burst(self, lanes: str, timeout: float | None) -> None:
        """Admits several tickets at once and decodes them, so that the devices have a choice."""
        for number, lane in enumerate(lanes):
            self.admit(lane, timeout, Priority(number % 3))
            self.decode()
        while self.decoding:
            self.put_one(self.decoding.pop())

    @rule()
    def decode(self) -> None:
        self.turn = turn = self.queue.next_to_decode_nowait(self.turn)
        if turn is None:
            return
        for ticket in turn.late:
            assert ticket.deadline is not None
            self.end(ticket, self.undecoded)
        for ticket in turn.tickets:
            assert ticket.is_before_deadline(self.clock.now)
            free = [each for each in self.undecoded if self.closed or each.held_until <= self.clock.now]
            waiting = [each for each in free if same_flow(each, ticket)]
            assert ticket is min(waiting, key=urgency)
            self.undecoded.remove(ticket)
            self.decoding.append(ticket)

    @precondition(lambda self: self.decoding)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.01]))
    def put(self, data: st.DataObject, seconds: float) -> None:
        self.put_one(self.decoding.pop(data.draw(st.integers(0, len(self.decoding) - 1))), seconds)

    def put_one(self, ticket: Ticket[int], seconds: float = 0.0) -> None:
        """Puts a ticket that was being decoded."""
        if self.queue.put({ticket: seconds}):
            assert not set(TABLES[str(ticket.lane)]) & set(self.devices)
            self.queue.cancel(ticket)
            self.ended.append(ticket)
        else:
            self.decoded.append(ticket)

    @precondition(lambda self: self.decoding)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        ticket = self.decoding.pop(data.draw(st.integers(0, len(self.decoding) - 1)))
        if self.queue.give_back([ticket]):
            assert not set(TABLES[str(ticket.lane)]) & set(self.devices)
            self.queue.cancel(ticket)
            self.ended.append(ticket)
        else:
            self.undecoded.append(ticket)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        place = next(each for each in (self.undecoded, self.decoding, self.decoded) if ticket in each)
        stage_of = {
            id(self.undecoded): Stage.ADMITTED,
            id(self.decoding): Stage.DECODING,
            id(self.decoded): Stage.QUEUED,
        }
        assert self.queue.cancel(ticket) is stage_of[id(place)]
        self.end(ticket, place)
        if stage_of[id(place)] is Stage.DECODING:
            self.put_cancelled(ticket)

    def put_cancelled(self, ticket: Ticket[int]) -> None:
        """Puts a ticket that was cancelled while it was decoded; it must not count."""
        self.queue.put({ticket: 0.0})

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def cancel_running(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.running))
        ticket = data.draw(st.sampled_from(batch.tickets))
        assert self.queue.cancel(ticket) in (Stage.TAKEN, Stage.ENDED)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.4, 1.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(devices=st.sampled_from(["d", "e", "dd", "ddee"]))
    def take(self, devices: str) -> None:
        for device in devices:
            if sum(batch.device == device for batch in self.running) < WORKERS:
                self.check_batch(device, self.queue.take_nowait(device))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), answered=st.booleans(), learn=st.booleans())
    def finish(self, data: st.DataObject, answered: bool, learn: bool) -> None:
        batch = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if answered:
            self.queue.mark_answered(batch.tickets)
        self.ended += batch.tickets
        self.check_batch(batch.device, self.queue.take_nowait(batch.device, batch, learn))

    def check_batch(self, device: str, batch: Batch[int] | None) -> None:
        """Checks a batch that a worker received."""
        if batch is None:
            return
        now, lane = self.clock.now, str(batch.lane)
        concurrent = [each for each in self.running if each.device == device]
        assert device in self.devices and device in TABLES[lane] and batch.device == device
        assert batch.concurrent == len(concurrent)
        assert len(batch.tickets) <= LIMITS[lane].max_batch_size and batch.tickets + batch.late
        instances = LIMITS[lane].instances
        assert not instances or sum(each.lane == lane for each in concurrent) < instances
        for ticket in batch.tickets:
            assert ticket.is_before_deadline(now) and ticket.stage is Stage.TAKEN and ticket.lane == lane
        for ticket in batch.late:
            assert ticket.deadline is not None and ticket.stage is Stage.ENDED
            self.end(ticket, self.decoded)
        for priority in Priority:
            waiting = sorted((each for each in self.decoded if flow_of(each) == (lane, priority)), key=urgency)
            taken = [ticket for ticket in batch.tickets if ticket.priority == priority]
            first = waiting.index(taken[0]) if taken else 0
            assert taken == waiting[first : first + len(taken)]
            assert all(self.is_too_slow(device, ticket) for ticket in waiting[:first])
        for ticket in batch.tickets:
            self.decoded.remove(ticket)
        if batch.tickets:
            self.running.append(batch)

    def is_too_slow(self, device: str, ticket: Ticket[int]) -> bool:
        """Whether the device may leave the ticket to another one."""
        seconds = self.queue.batch_seconds(ticket.lane)
        return len(seconds) > 1 and not ticket.is_before_deadline(self.clock.now + seconds[device][1])

    # without devices nothing would happen, so not at the start
    @precondition(lambda self: self.devices and self.admitted > 10)
    @rule(data=st.data())
    def lose_a_device(self, data: st.DataObject) -> None:
        device = self.devices.pop(data.draw(st.integers(0, len(self.devices) - 1)))
        unfinished = [batch for batch in self.running if batch.device == device]
        for batch in unfinished or [None]:  # each of its workers reports the failure
            self.remove_device(device, batch)
        assert self.queue.take_nowait(device) is None

    def remove_device(self, device: str, unfinished: Batch[int] | None) -> None:
        """Removes a device with a batch that it could not run."""
        if unfinished is not None:
            self.running.remove(unfinished)
            for ticket in unfinished.tickets:
                (self.ended if ticket.stage is Stage.ENDED else self.decoded).append(ticket)
        for ticket in self.queue.remove_device(device, unfinished):
            assert not set(TABLES[str(ticket.lane)]) & set(self.devices)
            place = next(each for each in (self.undecoded, self.decoding, self.decoded) if ticket in each)
            assert place is not self.decoding, "a ticket at a decoder was returned"
            self.end(ticket, place)

    @precondition(lambda self: self.admitted > 15)
    @rule()
    def close(self) -> None:
        self.queue.close()
        self.closed = True

    def end(self, ticket: Ticket[int], place: list[Ticket[int]]) -> None:
        """Moves a ticket from its list to the ended ones."""
        place.remove(ticket)
        self.ended.append(ticket)

    @invariant()
    def depth_is_the_number_of_waiting_tickets(self) -> None:
        for lane in "ab":
            assert self.queue.depth(lane) == sum(ticket.lane == lane for ticket in self.waiting)

    @invariant()
    def every_ticket_is_in_one_place(self) -> None:
        running = [ticket for batch in self.running for ticket in batch.tickets]
        payloads = [ticket.payload for ticket in self.waiting + running + self.ended]
        assert sorted(payloads) == list(range(self.admitted))

    def teardown(self) -> None:
        """Closes the queue, which hands out the remaining tickets and then ends its decoders and workers."""
        self.close()
        while self.running:
            batch = self.running.pop()
            self.ended += batch.tickets
            self.check_batch(batch.device, self.queue.take_nowait(batch.device, batch))
        while self.waiting:
            before = len(self.ended)
            self.drain_a_little()
            assert len(self.ended) > before, "the queue does not hand out its tickets"
        self.every_ticket_is_in_one_place()
        assert self.queue.next_to_decode() is None
        assert all(self.queue.take(device) is None for device in "de")
        self.counters_are_back_to_zero()

    def drain_a_little(self) -> None:
        for _ in range(MAX_QUEUE_SIZE * 2):
            self.decode()
        while self.decoding:
            self.put_one(self.decoding.pop())
        for device in self.devices:
            self.take(device)
        while self.running:
            batch = self.running.pop()
            self.ended += batch.tickets
            self.check_batch(batch.device, self.queue.take_nowait(batch.device, batch))

    def counters_are_back_to_zero(self) -> None:
        """Reads private state: a leaked counter is not visible from outside but makes every later estimate wrong."""
        state = self.queue._state
        flows = [flow for lane in state.lanes.values() for flow in lane.flows]
        assert [(len(flow.decoding), flow.running, flow.depth) for flow in flows] == [(0, 0, 0)] * len(flows)
        assert all(not device.running for device in state.devices.values())


def flow_of(ticket: Ticket[int]) -> tuple[object, Priority]:
    return ticket.lane, ticket.priority


def same_flow(one: Ticket[int], other: Ticket[int]) -> bool:
    return flow_of(one) == flow_of(other)


def urgency(ticket: Ticket[int]) -> tuple[float, int]:
    return ticket.due, ticket.order


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
