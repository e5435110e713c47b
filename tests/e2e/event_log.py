"""Reads the event log that `--trace` writes, and checks what must hold of every such file.

The server writes the log but these checks judge it: they do not depend on how the server decides.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One batch: its place in the order, device, model, requests, and start and end by the server's clock."""

    number: int
    device: str
    model: str
    requests: tuple[int, ...]
    started_at: float
    ended_at: float


class EventLog:
    """Events by request. Read it after the server has ended or all calls are done; before that, it is incomplete.

    Attributes:
        admitted, refused, ended, dropped: the event of that name, by request.
        runs: the batches that have run, in the order of their formation.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.admitted = self._by_request("admitted")
        self.refused = self._by_request("refused")
        self.ended = self._by_request("ended")
        self.dropped = self._by_request("dropped")
        finished = {event["batch"]: event["at"] for event in self.events_named("ran")}
        self.runs = [
            Run(
                batch["batch"], batch["device"], batch["model"], tuple(batch["requests"]), batch["at"], finished[number]
            )
            for number, batch in sorted((event["batch"], event) for event in self.events_named("batch"))
            if number in finished
        ]

    def events_named(self, name: str) -> list[Event]:
        """Returns all events of this name, in the order of the file."""
        return [event for event in self.events if event["event"] == name]

    def requests(self, model: str = "", **fields: Any) -> list[int]:
        """Returns the admitted requests with these fields, in the order of admission."""
        wanted = fields | ({"model": model} if model else {})
        return [number for number, event in self.admitted.items() if wanted.items() <= event.items()]

    def run_of(self, request: int) -> Run:
        """Returns the run of a request."""
        return next(run for run in self.runs if request in run.requests)

    def run_order(self, model: str) -> list[int]:
        """Returns a model's requests in the order in which they ran."""
        return [number for run in self.runs if run.model == model for number in run.requests]

    def max_waiting(self, model: str) -> int:
        """Returns the maximum number of a model's images that were admitted and not yet taken."""
        places = Counter(number for run in self.runs for number in run.requests)
        left_at = {number: run.started_at for run in self.runs for number in run.requests}
        own = self.requests(model)
        # An image leaves the queue when it is taken, or else when it ends; at equal times, departures come first.
        steps = [(self.admitted[number]["at"], 1) for number in own]
        steps += [(left_at[number] if places[number] else self.ended[number]["at"], -1) for number in own]
        held = maximum = 0
        for _, step in sorted(steps):
            held += step
            maximum = max(maximum, held)
        return maximum

    def check(self) -> None:
        """Fails unless every request ended once, and none ran that was refused, expired, ended or run before."""
        self._check_ends()
        ran = Counter(number for run in self.runs for number in run.requests)
        twice = [number for number, times in ran.items() if times > 1]
        assert not twice, f"ran more than once: {twice}"
        assert not ran.keys() & self.refused.keys(), "a refused request ran"
        assert not ran.keys() & self.dropped.keys(), "a dropped request ran"
        assert ran.keys() <= self.admitted.keys(), "a request ran that was never admitted"
        answered = {number for number, event in self.ended.items() if event["outcome"] == "answered"}
        assert answered <= ran.keys(), "a request was answered that never ran"
        for run in self.runs:
            for number in run.requests:
                self._check_run(run, number)

    def _check_ends(self) -> None:
        ends = Counter(event["request"] for event in self.events_named("ended"))
        assert set(ends.values()) <= {1}, "a request ended more than once"
        missing = (self.admitted.keys() | self.refused.keys()) - ends.keys()
        assert not missing, f"never ended: {sorted(missing)}"

    def _check_run(self, run: Run, number: int) -> None:
        deadline = self.admitted[number]["deadline"]
        assert deadline is None or run.started_at < deadline, f"{number} had expired when batch {run.number} was formed"
        assert run.started_at <= self.ended[number]["at"], f"{number} was over when batch {run.number} was formed"

    def _by_request(self, name: str) -> dict[int, Event]:
        return {event["request"]: event for event in self.events_named(name)}
