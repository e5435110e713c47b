"""Reads the event log that a server wrote with `--trace`, and evaluates it without the server's own counters.

All times are seconds of CLOCK_MONOTONIC, which the processes of a machine share.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The events of one request.

    Attributes:
        began: when it was admitted or refused.
        deadline: None without one.
        predicted: when its answer was expected; None if it was refused.
        refused: whether it was refused at once.
        batches: when each batch with it was formed, without batches that failed, as these are run again.
        ends: when the server ended it; exactly one time unless something is wrong.
        outcome: of the last end; empty if it never ended.
    """

    began: float
    deadline: float | None
    predicted: float | None
    refused: bool
    batches: tuple[float, ...]
    ends: tuple[float, ...]
    outcome: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of a model; `ended` is None if the event log does not have its end."""

    began: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class EventLog:
    """The requests and batches of a server, or of a period."""

    requests: tuple[Request, ...]
    batches: tuple[Batch, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a whole file; stop the server first, as it may write the last lines when it stops.

        Raises:
            ValueError: if a line is not an event; the message has its number.
        """
        with path.open(encoding="utf-8") as lines:
            return cls.of([_event(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1)])

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Groups events by request and by batch."""
        by_request: defaultdict[int, list[Event]] = defaultdict(list)
        by_batch: defaultdict[int, list[Event]] = defaultdict(list)
        for event in events:
            if "batch" in event:
                by_batch[event["batch"]].append(event)
            else:
                by_request[event["request"]].append(event)
        formed = _batches_of_requests(by_batch.values())
        requests = (_request(each, formed[number]) for number, each in by_request.items())
        batches = (_batch(each) for each in by_batch.values())
        return cls(tuple(requests), tuple(each for each in batches if each))

    def between(self, start: float, end: float) -> "EventLog":
        """Returns the requests that began and the batches that were formed in a period; requests keep later events."""
        return EventLog(
            tuple(each for each in self.requests if start <= each.began < end),
            tuple(each for each in self.batches if start <= each.began < end),
        )

    def overruns(self) -> list[float]:
        """Returns the seconds by which requests ended after their deadline; negative if before it."""
        return [end - each.deadline for each in self.requests if each.deadline is not None for end in each.ends]

    def expired_when_formed(self) -> int:
        """Returns how many times a request was put into a batch at or after its deadline."""
        return sum(
            moment >= each.deadline for each in self.requests if each.deadline is not None for moment in each.batches
        )

    def run_twice(self) -> int:
        """Returns how many requests were run more than once, batches that failed not counted."""
        return sum(len(each.batches) > 1 for each in self.requests)

    def not_ended_once(self) -> int:
        """Returns how many requests never ended, or ended more than once."""
        return sum(len(each.ends) != 1 for each in self.requests)

    def refused_share(self) -> float | None:
        """Returns the share of requests that were refused at once; None without requests."""
        return sum(each.refused for each in self.requests) / len(self.requests) if self.requests else None

    def prediction_errors(self) -> list[float]:
        """Returns the seconds by which answered requests ended later than predicted; negative if earlier."""
        answered = (each for each in self.requests if each.outcome == "answered" and each.ends)
        return [each.ends[-1] - each.predicted for each in answered if each.predicted is not None]

    def longest_batch(self) -> float | None:
        """Returns the duration of the longest batch in seconds; None if no batch ended."""
        return max((each.ended - each.began for each in self.batches if each.ended is not None), default=None)

    def busy_after(self, moment: float) -> float:
        """Returns the seconds from a moment to the end of the last batch; 0.0 if none ended later."""
        return max(
            (each.ended - moment for each in self.batches if each.ended is not None and each.ended > moment),
            default=0.0,
        )


def _event(line: str, place: str) -> Event:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place} is not JSON: {error}") from None
    if not isinstance(event, dict) or not {"event", "at"} <= event.keys() or not {"request", "batch"} & event.keys():
        raise ValueError(f"{place} is not an event: it must have event, at, and request or batch")
    return event


def _batches_of_requests(batches: Iterable[Sequence[Event]]) -> defaultdict[int, list[float]]:
    """Returns, for each request, when the batches with it were formed, without those that failed."""
    formed: defaultdict[int, list[float]] = defaultdict(list)
    for events in batches:
        failed = any(event["event"] == "ran" and not event["succeeded"] for event in events)
        for event in events:
            for request in event.get("requests", ()) if not failed else ():
                formed[request].append(event["at"])
    return formed


def _request(events: Sequence[Event], batches: Sequence[float]) -> Request:
    arrival = next((each for each in events if each["event"] in ("admitted", "refused")), events[0])
    ends = [each for each in events if each["event"] == "ended"]
    return Request(
        began=arrival["at"],
        deadline=arrival.get("deadline"),
        predicted=arrival.get("predicted"),
        refused=arrival["event"] == "refused",
        batches=tuple(batches),
        ends=tuple(each["at"] for each in ends),
        outcome=ends[-1]["outcome"] if ends else "",
    )


def _batch(events: Sequence[Event]) -> Batch | None:
    began = next((each["at"] for each in events if each["event"] == "batch"), None)
    ended = next((each["at"] for each in events if each["event"] == "ran"), None)
    return None if began is None else Batch(began, ended)
