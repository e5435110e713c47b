"""Which waiting ticket must leave to make room for an arrival, where the queue is full.

A caller of whom most tickets wait yields to one of whom at least two fewer wait, so that the same two callers never
displace each other in turns. A ticket that a device has taken is never displaced.
"""

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
    return _newest_of_the_busiest(lane.flows[priority], caller)


def _newest_of_the_busiest(flow: Flow[Payload], caller: str) -> Ticket[Payload] | None:
    """Returns the newest ticket of the caller of whom most wait; None if the arrival's caller has nearly as many."""
    busiest = max(flow.callers, key=flow.callers.__getitem__, default="")
    if flow.callers.get(busiest, 0) < flow.callers.get(caller, 0) + 2:
        return None
    return max([ticket for ticket in waiting_in(flow) if ticket.caller == busiest], key=_order, default=None)


def _order(ticket: Ticket[Payload]) -> int:
    return ticket.order
