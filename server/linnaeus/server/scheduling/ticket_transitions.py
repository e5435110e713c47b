"""Moves tickets between the queues of their flow: held, undecoded, decoding, decoded."""

from collections.abc import Iterable, Iterator
from itertools import chain

from linnaeus.server.scheduling.lanes import Flow, Lane
from linnaeus.server.scheduling.tickets import Payload, Stage, Ticket


def start(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    """Queues a ticket for the decoders, or for the devices if it needs no decoder."""
    if ticket.work is None:
        enqueue(flow, ticket, now)
    else:
        flow.undecoded.add(ticket)


def enqueue(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    """Queues a decoded ticket for the devices."""
    ticket.stage, ticket.queued_at = Stage.QUEUED, now
    flow.decoded.add(ticket)


def waiting_tickets(lane: Lane[Payload]) -> Iterable[Ticket[Payload]]:
    """Returns a lane's tickets that wait for a decoder or a device or are held back; not those being decoded."""
    return [ticket for flow in lane.flows for ticket in waiting_in(flow) if ticket.stage is not Stage.DECODING]


def waiting_in(flow: Flow[Payload]) -> Iterator[Ticket[Payload]]:
    """Yields the tickets of a flow that no device has taken."""
    return chain(flow.held.values(), flow.undecoded, flow.decoding, flow.decoded)


def remove_waiting(flow: Flow[Payload], ticket: Ticket[Payload]) -> None:
    """Removes a ticket that no device has taken from the queues of its flow."""
    if ticket.stage is Stage.ADMITTED and ticket.order in flow.held:
        del flow.held[ticket.order]
    elif ticket.stage is Stage.ADMITTED:
        flow.undecoded.remove(ticket)
    elif ticket.stage is Stage.DECODING:
        flow.decoding.remove(ticket)
    elif ticket.stage is Stage.QUEUED:
        flow.decoded.remove(ticket)
