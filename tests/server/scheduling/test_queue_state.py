"""A ticket passes its stages and leaves nothing behind. An image takes a tenth of a second."""

import pytest
from builders import payloads
from state_harness import Harness

from linnaeus.server.scheduling import Priority, Stage

HIGH, NORMAL, LOW = Priority


def test_a_ticket_goes_its_way_and_leaves_nothing_behind() -> None:
    harness = Harness()
    flow = harness.lanes[0].flows[NORMAL]
    ticket = harness.admit(deadline=9.0)
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


def test_what_is_late_before_it_is_decoded_is_never_decoded() -> None:
    harness = Harness()
    late, good = harness.admit("late", deadline=1.0), harness.admit("good", deadline=3.0)
    turn = harness.state.next_to_decode(0.95, False)
    assert turn is not None and turn.tickets == [good] and turn.late == [late]
    assert late.stage is Stage.ENDED and harness.lanes[0].depth == 1
    assert late.predicted_at == pytest.approx(1.05)  # when its answer would have come
