"""What the ledger keeps straight: admission, places, shares and devices. An image takes a tenth of a second."""

from collections.abc import Callable
from math import inf

import pytest
from scenes import TENTH_AN_IMAGE, late_payloads, new_lane, payloads

from linnaeus.server.scheduling import Batch, NoDevice, Priority, QueueFull, Stage, Ticket, TooLate
from linnaeus.server.scheduling.admission import Arrival
from linnaeus.server.scheduling.lanes import Lane
from linnaeus.server.scheduling.queue_state import Ledger

HIGH, NORMAL, LOW = Priority


class Desk:
    """A ledger with lanes and devices of one letter each; the test says what time it is."""

    def __init__(self, *lanes: Lane[str], devices: str = "d", streams: int = 1) -> None:
        self.ledger: Ledger[str] = Ledger()
        self.lanes = lanes or (new_lane(),)
        for lane in self.lanes:
            self.ledger.lanes[lane.name] = lane
        for name in devices:
            self.ledger.add_device(name, streams)

    def admit(
        self,
        payload: str = "",
        deadline: float | None = None,
        lane: int = 0,
        priority: Priority = NORMAL,
        size: int = 0,
        caller: str = "",
        now: float = 0.0,
    ) -> Ticket[str]:
        arrival = Arrival(payload, deadline, priority, size, caller)
        return self.ledger.admit(arrival, self.lanes[lane], now)

    def decode(self, now: float = 0.0, seconds: float = 0.0) -> None:
        while (turn := self.ledger.next_to_decode(now, False)) is not None and turn.tickets:
            for ticket in turn.tickets:
                self.ledger.put(ticket, seconds, now)

    def form(self, now: float = 0.0, device: str = "d") -> Batch[str] | None:
        return self.ledger.form(self.ledger.devices[device], now, False)

    def serve(self, now: float, seconds: float) -> str:
        """Runs the next batch for so long; returns its lane."""
        self.decode(now)
        batch = self.form(now)
        assert batch is not None
        self.ledger.finish(batch, now + seconds, learn=True)
        return str(batch.lane)


# Admission.


def test_a_full_lane_refuses_and_says_how_long_what_it_holds_will_take() -> None:
    desk = Desk(new_lane("a", max_queue_size=3), new_lane("b"))
    for _ in range(3):
        desk.admit()
    with pytest.raises(QueueFull) as refusal:
        desk.admit()
    assert refusal.value.held == 3
    assert refusal.value.wait_seconds == pytest.approx(0.3)
    desk.admit(lane=1)


def test_a_deadline_that_has_passed_is_refused() -> None:
    with pytest.raises(TooLate) as refusal:
        Desk().admit(deadline=1.0, now=1.5)
    assert refusal.value.allowed_seconds == pytest.approx(-0.5)


@pytest.mark.parametrize(("deadline", "admitted"), [(0.09, False), (0.11, True)])
def test_a_run_that_cannot_end_in_time_even_alone_is_refused(deadline: float, admitted: bool) -> None:
    desk = Desk()
    if admitted:
        assert desk.admit(deadline=deadline).predicted_at == pytest.approx(0.1)
        return
    with pytest.raises(TooLate) as refusal:
        desk.admit(deadline=deadline)
    assert refusal.value.wait_seconds == pytest.approx(0.1)
    assert refusal.value.allowed_seconds == pytest.approx(deadline)
    assert desk.lanes[0].depth == 0


def test_a_newcomer_that_would_be_late_behind_the_others_is_refused_and_one_without_deadline_is_not() -> None:
    desk = Desk()
    for _ in range(8):
        desk.admit(deadline=5.0)
    with pytest.raises(TooLate):
        desk.admit(deadline=5.0, now=4.0)
    desk.admit(now=4.0)


def test_a_newcomer_with_an_earlier_deadline_is_admitted_past_the_others() -> None:
    desk = Desk()
    for _ in range(30):
        desk.admit(deadline=20.0)
    assert desk.admit(deadline=0.5).predicted_at == pytest.approx(0.5)  # its batch is filled up to its deadline
    alone = Desk()
    assert alone.admit(deadline=0.5).predicted_at == pytest.approx(0.1)


def test_a_lane_without_a_device_left_refuses() -> None:
    desk = Desk()
    desk.ledger.remove_device("d", None, 0.0)
    with pytest.raises(NoDevice):
        desk.admit()


def test_decoding_is_foreseen_from_what_it_cost_by_the_byte() -> None:
    desk = Desk()
    desk.admit(size=1000)
    desk.decode(seconds=0.2)
    assert desk.admit(size=500).decode_seconds == pytest.approx(0.1)
    with pytest.raises(TooLate):
        desk.admit(size=4000, deadline=0.7)


def test_a_device_too_slow_for_a_deadline_turns_nobody_away_that_a_free_faster_one_can_serve() -> None:
    desk = Desk(unequal_lane(), devices="sf")
    assert desk.admit(deadline=0.5).predicted_at <= 0.5


def test_a_device_too_slow_for_a_ticket_leaves_it_to_a_faster_one() -> None:
    desk = Desk(unequal_lane(), devices="sf")
    desk.admit("1", deadline=3.0)
    desk.decode()
    slow = desk.form(now=2.5, device="s")  # a run takes a second there and a tenth on the other
    assert slow is None or not slow.late
    assert payloads(desk.form(now=2.5, device="f")) == ["1"]


def test_what_it_leaves_to_a_faster_one_does_not_keep_it_from_what_it_can_do() -> None:
    desk = Desk(unequal_lane(), devices="sf")
    desk.admit("urgent", deadline=3.0, priority=Priority.HIGH)
    desk.admit("endless")
    desk.decode()
    assert payloads(desk.form(now=2.5, device="s")) == ["endless"]
    assert payloads(desk.form(now=2.5, device="f")) == ["urgent"]


def unequal_lane() -> Lane[str]:
    """A lane for a fast device `f` and a slow one `s`, where an image takes a second."""
    slow, fast = (new_lane(seconds=seconds, devices="d").tables["d"] for seconds in ({1: 1.0}, TENTH_AN_IMAGE))
    lane = new_lane()
    lane.tables = {"s": slow, "f": fast}
    return lane


def test_what_another_model_has_at_the_decoders_is_ahead_of_a_newcomer_only_if_it_is_due_before_it() -> None:
    desk = Desk(new_lane("a"), new_lane("b"))
    for _ in range(2):
        desk.admit(lane=1)
        assert desk.ledger.next_to_decode(0.0, False) is not None
    assert desk.admit(deadline=1.0).predicted_at == pytest.approx(0.1)


def test_the_tightest_time_is_learnt_from_whoever_would_be_in_time_alone_admitted_or_not() -> None:
    desk = Desk()
    assert desk.lanes[0].tightest_timeout(0.0) == inf
    for _ in range(8):
        desk.admit()
    desk.decode()
    assert len(payloads(desk.form())) == 8
    for deadline in (0.5, 0.05):  # the device is busy for 0.8 s; nobody could answer in 0.05 s
        with pytest.raises(TooLate):
            desk.admit(deadline=deadline)
    assert desk.lanes[0].tightest_timeout(0.0) == 0.5


def test_a_lane_full_of_low_priority_has_places_for_higher_ones_but_not_the_other_way_round() -> None:
    desk = Desk(new_lane(max_queue_size=3))
    for _ in range(3):
        desk.admit(priority=LOW)
    for priority in (NORMAL, NORMAL, HIGH):
        desk.admit(priority=priority)
    with pytest.raises(QueueFull) as refusal:
        desk.admit(priority=NORMAL)
    assert refusal.value.held == 6
    desk.admit(priority=HIGH)


# Places.


def test_a_ticket_goes_its_way_and_leaves_nothing_behind() -> None:
    desk = Desk()
    flow = desk.lanes[0].flows[NORMAL]
    ticket = desk.admit(deadline=9.0)
    assert ticket.stage is Stage.ADMITTED and flow.depth == 1
    turn = desk.ledger.next_to_decode(0.1, False)
    assert turn is not None and turn.tickets == [ticket]
    assert ticket.stage is Stage.DECODING and len(flow.decoding) == 1 and flow.depth == 1
    assert desk.ledger.put(ticket, 0.01, 0.2)
    assert ticket.stage is Stage.QUEUED and ticket.put_at == 0.2 and len(flow.decoding) == 0 and flow.depth == 1
    batch = desk.form(0.3)
    assert payloads(batch) == [""] and batch is not None
    assert ticket.stage is Stage.TAKEN and ticket.taken_at == 0.3 and flow.running == 1 and flow.depth == 0
    desk.ledger.answered(ticket, 0.4)
    desk.ledger.finish(batch, 0.4, learn=True)
    assert ticket.stage is Stage.GONE and flow.running == 0 and not flow.is_active
    assert desk.ledger.is_idle and not desk.ledger.devices["d"].running


def test_a_batch_says_what_it_expects_and_how_many_run_beside_it() -> None:
    desk = Desk(new_lane("a", size=1), streams=2)
    for _ in range(2):
        desk.admit()
    desk.decode()
    first, second = desk.form(), desk.form()
    assert first is not None and second is not None
    assert [first.beside, second.beside] == [0, 1]
    assert [first.expected_seconds, second.expected_seconds] == pytest.approx([0.1, 0.2])
    assert second.number > first.number


def test_what_is_late_before_it_is_decoded_is_never_decoded() -> None:
    desk = Desk()
    late, good = desk.admit("late", deadline=1.0), desk.admit("good", deadline=3.0)
    turn = desk.ledger.next_to_decode(0.95, False)
    assert turn is not None and turn.tickets == [good] and turn.late == [late]
    assert late.stage is Stage.GONE and desk.lanes[0].depth == 1
    assert late.predicted_at == pytest.approx(1.05)  # when its answer would have come


def test_what_is_late_when_a_batch_is_formed_is_never_run() -> None:
    desk = Desk()
    late = desk.admit("late", deadline=1.0)
    desk.admit("good", deadline=3.0)
    desk.decode()
    batch = desk.form(1.2)
    assert payloads(batch) == ["good"] and late_payloads(batch) == ["late"]
    assert late.stage is Stage.GONE and desk.lanes[0].depth == 0
    assert late.predicted_at == pytest.approx(1.3)  # when its answer would have come


def test_a_batch_of_late_ones_only_occupies_nothing() -> None:
    desk = Desk()
    desk.admit("late", deadline=1.0)
    desk.decode()
    batch = desk.form(1.2)
    assert payloads(batch) == [] and batch is not None
    assert not desk.ledger.devices["d"].running
    desk.ledger.finish(batch, 9.0, learn=True)
    assert desk.ledger.is_idle


# Shares.


def test_device_time_is_charged_to_those_that_rode_by_their_weights() -> None:
    desk = Desk(new_lane(priority_weights=(4.0, 2.0, 1.0)))
    for priority in (HIGH, HIGH, NORMAL, LOW):
        desk.admit(priority=priority)
    desk.serve(0.0, seconds=0.8)
    assert [flow.used for flow in desk.lanes[0].flows] == pytest.approx([0.4 / 4, 0.2 / 2, 0.2 / 1])


def turns(desk: Desk, start: float, lanes: Callable[[int], tuple[int, ...]], count: int) -> list[str]:
    """Keeps `lanes(turn)` saturated, one image a run of a tenth of a second; returns whose turn it was."""
    order, now = [], start
    for turn in range(count):
        for lane in lanes(turn):
            while desk.lanes[lane].depth < 4:
                desk.admit(lane=lane, now=now)
        order.append(desk.serve(now, 0.1))
        now += 0.1
    return order


def test_two_saturated_models_take_turns() -> None:
    desk = Desk(new_lane("a", size=1), new_lane("b", size=1))
    order = turns(desk, 0.0, lambda turn: (0, 1), 40)
    assert order.count("a") == pytest.approx(20, abs=2)


def test_a_model_with_three_times_the_weight_gets_three_quarters() -> None:
    desk = Desk(new_lane("a", size=1, weight=3.0), new_lane("b", size=1))
    order = turns(desk, 0.0, lambda turn: (0, 1), 80)
    assert order.count("a") == pytest.approx(60, abs=4)


def test_a_quiet_model_saves_nothing_up() -> None:
    desk = Desk(new_lane("a", size=1), new_lane("b", size=1))
    order = turns(desk, 0.0, lambda turn: (0,) if turn < 100 else (0, 1), 120)
    assert order[100:].count("a") == pytest.approx(10, abs=3)


def test_a_model_that_had_the_device_to_itself_owes_nothing_when_it_comes_back() -> None:
    desk = Desk(new_lane("a", size=1), new_lane("b", size=1))
    desk_alone = turns(desk, 0.0, lambda turn: (0,), 100)
    assert set(desk_alone) == {"a"}
    now = 10.0
    while not desk.ledger.is_idle:
        desk.serve(now, 0.1)
        now += 0.1
    assert set(turns(desk, now, lambda turn: (1,), 5)) == {"b"}
    order = turns(desk, now + 0.5, lambda turn: (0, 1), 40)
    assert order.count("a") == pytest.approx(20, abs=6)


# Devices.


def test_what_is_given_back_waits_again_for_another_device() -> None:
    desk = Desk(new_lane(devices="de"), devices="de")
    kept, left = desk.admit("kept"), desk.admit("left")
    desk.decode()
    batch = desk.form(0.1)
    assert batch is not None
    desk.ledger.abandon(left, True, 0.2)
    assert desk.ledger.remove_device("d", batch, 0.3) == []
    assert "d" not in desk.lanes[0].tables
    assert kept.stage is Stage.QUEUED and desk.lanes[0].flows[NORMAL].running == 0
    assert payloads(desk.form(0.4, "e")) == ["kept"]


def test_removing_the_last_device_hands_out_what_nobody_can_run_but_leaves_other_models() -> None:
    desk = Desk(new_lane("a"), new_lane("b", devices="de"), devices="de")
    waiting, decoded = desk.admit("waiting"), desk.admit("decoded", deadline=4.0)
    turn = desk.ledger.next_to_decode(0.0, False)
    assert turn is not None and turn.tickets == [decoded]
    desk.ledger.put(decoded, 0.0, 0.0)
    other = desk.admit(lane=1)
    stranded = desk.ledger.remove_device("d", None, 0.0)
    assert set(map(id, stranded)) == {id(waiting), id(decoded)}
    assert waiting.stage is decoded.stage is Stage.GONE and other.stage is Stage.ADMITTED
    assert desk.ledger.remove_device("d", None, 0.0) == []


def test_a_batch_that_runs_on_a_removed_device_ends_in_order() -> None:
    desk = Desk()
    desk.admit()
    desk.decode()
    batch = desk.form()
    assert batch is not None
    desk.ledger.remove_device("d", None, 0.0)
    desk.ledger.finish(batch, 1.0, learn=True)
    assert desk.lanes[0].flows[NORMAL].running == 0
