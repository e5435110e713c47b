"""How a ticket moves between the queues of its flow: held back, undecoded, decoding, decoded."""

from collections.abc import Iterable

from linnaeus.server.scheduling.lanes import Flow, Lane
from linnaeus.server.scheduling.tickets import Payload, Stage, Ticket


def start(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    """Queues a ticket for the decoders, or for the devices if it needs no decoder."""
    if ticket.is_decoded:
        enqueue(flow, ticket, now)
    else:
        flow.undecoded.add(ticket)


def enqueue(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    """Queues a decoded ticket for the devices."""
    ticket.stage, ticket.queued_at = Stage.QUEUED, now
    flow.decoded.add(ticket)


def waiting_tickets(lane: Lane[Payload]) -> Iterable[Ticket[Payload]]:
    """Returns the tickets of a lane that wait for a decoder or a device, or are held back."""
    waiting = ((flow.held.values(), flow.undecoded, flow.decoded) for flow in lane.flows)
    return [ticket for kinds in waiting for kind in kinds for ticket in kind]


def remove_waiting(flow: Flow[Payload], ticket: Ticket[Payload]) -> None:
    """Takes a ticket that no device has taken out of its flow."""
    flow.depth -= 1
    if ticket.stage is Stage.ADMITTED and ticket.order in flow.held:
        del flow.held[ticket.order]
    elif ticket.stage is Stage.ADMITTED:
        flow.undecoded.remove(ticket)
    elif ticket.stage is Stage.DECODING:
        flow.decoding.remove(ticket)
    elif ticket.stage is Stage.QUEUED:
        flow.decoded.remove(ticket)
