"""Reads the file that `--trace` writes, and says what must hold of every such file.

A trace is the server's own diary, but it is judged here: these checks know nothing of how the server decides.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One batch: its place in the order, who ran it, from when to when (the server's clock), and whose images."""

    number: int
    device: str
    model: str
    requests: tuple[int, ...]
    began_at: float
    ended_at: float


class Trace:
    """What happened, by request. Read it once the server has ended, or all calls so far: before, it lacks its end.

    Attributes:
        admitted, refused, ended, dropped: a request's event of that name.
        runs: every batch that has run, in the order in which they were formed.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.admitted = self._by_request("admitted")
        self.refused = self._by_request("refused")
        self.ended = self._by_request("ended")
        self.dropped = self._by_request("dropped")
        finished = {event["batch"]: event["at"] for event in self.named("ran")}
        self.runs = [
            Run(
                batch["batch"], batch["device"], batch["model"], tuple(batch["requests"]), batch["at"], finished[number]
            )
            for number, batch in sorted((event["batch"], event) for event in self.named("batch"))
            if number in finished
        ]

    def named(self, name: str) -> list[Event]:
        """All events of that name, as written."""
        return [event for event in self.events if event["event"] == name]

    def requests(self, model: str = "", **fields: Any) -> list[int]:
        """The admitted requests that carry these fields, in the order of admission."""
        wanted = fields | ({"model": model} if model else {})
        return [number for number, event in self.admitted.items() if wanted.items() <= event.items()]

    def run_of(self, request: int) -> Run:
        """The run that a request was in."""
        return next(run for run in self.runs if request in run.requests)

    def order_run(self, model: str) -> list[int]:
        """A model's requests as its runs took them."""
        return [number for run in self.runs if run.model == model for number in run.requests]

    def most_held(self, model: str) -> int:
        """How many images of a model were admitted and not yet taken, at most."""
        places = Counter(number for run in self.runs for number in run.requests)
        leaves = {number: run.began_at for run in self.runs for number in run.requests}
        own = self.requests(model)
        # An image leaves when it is taken, else when it ends; leaving goes first where both bear the same time.
        steps = [(self.admitted[number]["at"], 1) for number in own]
        steps += [(leaves[number] if places[number] else self.ended[number]["at"], -1) for number in own]
        held = most = 0
        for _, step in sorted(steps):
            held += step
            most = max(most, held)
        return most

    def check(self) -> None:
        """Fails unless every request ended once, and none ran that was refused, expired, over or run before."""
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
                self._check_wanted(run, number)

    def _check_ends(self) -> None:
        ends = Counter(event["request"] for event in self.named("ended"))
        assert set(ends.values()) <= {1}, "a request ended more than once"
        missing = (self.admitted.keys() | self.refused.keys()) - ends.keys()
        assert not missing, f"never ended: {sorted(missing)}"

    def _check_wanted(self, run: Run, number: int) -> None:
        deadline = self.admitted[number]["deadline"]
        assert deadline is None or run.began_at < deadline, f"{number} had expired when batch {run.number} was formed"
        assert run.began_at <= self.ended[number]["at"], f"{number} was over when batch {run.number} was formed"

    def _by_request(self, name: str) -> dict[int, Event]:
        return {event["request"]: event for event in self.named(name)}
