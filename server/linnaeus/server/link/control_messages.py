"""The messages between the supervising process and the processes that it starts.

| supervisor to child | child to supervisor |
|---|---|
| Start: be the engine, or a front end | LinkOpen: the engine listens for front ends |
| Connect: the engine listens there | Prepared: a front end answers probes |
| Drain: the server stops | Listening: a front end listens for callers |
| Ping: does it respond? | Pong: it does |
| Scrape: asks for the metrics | Snapshot: the metrics |
| AllMetrics: the metrics of all processes | MetricsWanted: asks for those of all processes |
| EngineState: why the engine does not answer; empty if it does | |
| | Health: why it is not ready; empty if it is |
| | Refusal: it cannot start, and why |
"""

from typing import Literal, TypeAlias

from linnaeus.server.link.messages import Message

# The `call` of a child's last snapshot.
LAST = 0
Role: TypeAlias = Literal["engine", "front_end"]


class Start(Message, tag=1):
    """What a child is to be: its role, its number among its kind from 1, and the settings in JSON."""

    role: Role
    number: int
    settings: bytes
    link_path: str


class Connect(Message, tag=2):
    """The engine listens for front ends on this socket file."""

    link_path: str


class Scrape(Message, tag=3):
    """Asks for the metrics."""

    call: int


class Drain(Message, tag=4):
    """The server stops: no load begins any more, and no batch waits for more images."""


class Ping(Message, tag=5):
    """Asks whether the event loop responds."""


class AllMetrics(Message, tag=6):
    """The metrics of all processes in Prometheus' text format, for `MetricsWanted`; empty if they cannot be had."""

    text: bytes


class EngineState(Message, tag=7):
    """Why the engine does not answer although it is connected, in a sentence; empty if it does."""

    unready_reason: str


class LinkOpen(Message, tag=21):
    """The engine listens for front ends."""


class Prepared(Message, tag=26):
    """A front end answers probes on the health port, if there is one."""


class Listening(Message, tag=22):
    """A front end listens for callers."""


class Health(Message, tag=23):
    """Why a front end is not ready, in a sentence; empty if it is."""

    unready_reason: str


class Snapshot(Message, tag=24):
    """The metrics of a child, for a `Scrape` or, as `LAST`, at its end; see `merged_metrics`."""

    call: int
    metrics: bytes


class Refusal(Message, tag=25):
    """The child cannot start, for a reason that the operator must mend."""

    reason: str


class Pong(Message, tag=27):
    """The event loop responds."""


class MetricsWanted(Message, tag=28):
    """Asks for the metrics of all processes; a front end asks again only when it has the answer."""


ToChild: TypeAlias = Start | Connect | Scrape | Drain | Ping | AllMetrics | EngineState
ToSupervisor: TypeAlias = LinkOpen | Prepared | Listening | Health | Snapshot | Refusal | Pong | MetricsWanted
