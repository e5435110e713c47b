"""The stages of a ticket. An image takes 0.1 s."""

import pytest
from builders import payloads
from state_harness import Harness

from linnaeus.server.scheduling import UNKNOWN_WORK, DecodeWork, Priority, Stage

HIGH, NORMAL, LOW = Priority


def test_a_ticket_passes_all_stages_and_resets_all_counters() -> None:
    harness = Harness()
    flow = harness.lanes[0].flows[NORMAL]
    ticket = harness.admit(deadline=9.0, work=UNKNOWN_WORK)
    assert ticket.stage is Stage.ADMITTED and flow.depth == 1
    turn = harness.state.next_to_decode(0.1, False)
    assert turn is not None and turn.tickets == [ticket]
    assert ticket.stage is Stage.DECODING and len(flow.decoding) == 1 and flow.depth == 1
    assert harness.state.put(ticket, 0.01, 0.2)
    assert ticket.stage is Stage.QUEUED and ticket.queued_at == 0.2 and len(flow.decoding) == 0 and flow.depth == 1
    batch = harness.form(0.3)
    assert payloads(batch) == [""] and batch is not None
    assert ticket.stage is Stage.TAKEN and ticket.taken_at == 0.3 and flow.running == 1 and flow.depth == 0
    harness.state.mark_answered(ticket, 0.4)
    harness.batches.finish_batch(batch, 0.4, learn=True)
    assert ticket.stage is Stage.ENDED and flow.running == 0 and not flow.is_active
    assert harness.state.is_idle and not harness.state.devices["d"].running


def test_a_ticket_that_is_late_before_decoding_is_not_decoded() -> None:
    harness = Harness()
    late, good = (
        harness.admit(name, deadline=deadline, work=UNKNOWN_WORK) for name, deadline in (("late", 1.0), ("good", 3.0))
    )
    turn = harness.state.next_to_decode(0.95, False)
    assert turn is not None and turn.tickets == [good] and turn.late == [late]
    assert late.stage is Stage.ENDED and harness.lanes[0].depth == 1
    assert late.predicted_at == pytest.approx(1.06, abs=0.001)  # the time at which it would have been answered


def test_while_quick_images_come_the_last_of_several_decoders_takes_no_image_that_is_long_to_decode() -> None:
    harness = Harness(decoders=3)
    for name in ("long 0", "long 1", "long 2"):
        harness.admit(name, deadline=50.0, work=DecodeWork("", 50_000_000))
    harness.admit("short", deadline=90.0, work=DecodeWork("", 1_000_000))
    turns = [harness.state.next_to_decode(0.0, False) for _ in range(4)]
    assert [turn and payloads(turn) for turn in turns] == [["long 0"], ["long 1"], ["short"], None]
    for ticket in turns[0].tickets if turns[0] else []:
        harness.state.cancel(ticket, True, 0.0)
    assert harness.state.next_to_decode(0.0, False) is None, "a cancelled image still occupies its decoder"
    assert turns[0] is not None
    harness.state.end_turn(turns[0])
    assert payloads(harness.state.next_to_decode(0.0, False)) == ["long 2"]


def test_without_quick_images_all_decoders_take_images_that_are_long_to_decode() -> None:
    harness = Harness(decoders=2)
    harness.admit("quick", work=DecodeWork("", 1_000_000))
    assert payloads(harness.state.next_to_decode(0.0, False)) == ["quick"]
    for name in ("long 0", "long 1", "long 2"):
        harness.admit(name, deadline=50.0, work=DecodeWork("", 50_000_000))
    turns = [harness.state.next_to_decode(0.1, False), harness.state.next_to_decode(0.2, False)]
    assert [turn and payloads(turn) for turn in turns] == [["long 0"], None]
    assert payloads(harness.state.next_to_decode(2.1, False)) == ["long 1"]


def test_an_only_decoder_takes_images_of_any_length() -> None:
    harness = Harness(decoders=1)
    harness.admit("long", work=DecodeWork("", 50_000_000))
    assert payloads(harness.state.next_to_decode(0.0, False)) == ["long"]
