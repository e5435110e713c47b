"""Which waiting ticket must leave to make room for an arrival, where the queue is full or its time is all promised.

A caller of whom most tickets wait yields to one of whom at least two fewer wait, so that the same two callers never
displace each other in turns. A ticket that a device has taken is never displaced.
"""

from math import inf

from linnaeus.server.scheduling.lanes import Flow, Lane
from linnaeus.server.scheduling.ticket_transitions import waiting_in
from linnaeus.server.scheduling.tickets import Payload, Priority, Ticket


def ticket_in_the_way(lane: Lane[Payload], priority: Priority, caller: str) -> Ticket[Payload] | None:
    """Returns the newest ticket of the lowest priority below the arrival's; else of the caller of whom most wait.

    Args:
        lane: a lane that is full.
        priority: the arrival's priority.
        caller: the arrival's caller.

    Returns:
        None if the arrival must be refused.
    """
    for flow in reversed(lane.flows[priority + 1 :]):
        if flow.depth:
            return max(waiting_in(flow), key=_order)
    return ticket_to_replace(lane.flows[priority], inf, caller)


def ticket_to_replace(flow: Flow[Payload], due: float, caller: str) -> Ticket[Payload] | None:
    """Returns the newest ticket of the caller of whom most wait, among those that go before an arrival; None for none.

    Args:
        flow: the arrival's flow.
        due: its place in the flow's order.
        caller: its caller.
    """
    busiest = max(flow.callers, key=flow.callers.__getitem__, default="")
    if flow.callers.get(busiest, 0) < flow.callers.get(caller, 0) + 2:
        return None
    before = [ticket for ticket in waiting_in(flow) if ticket.caller == busiest and ticket.due <= due]
    return max(before, key=_order, default=None)


def _order(ticket: Ticket[Payload]) -> int:
    return ticket.order
