"""The options of a measurement: checked once, frozen, and passed to every generator process."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from linnaeus.client.transport.addresses import Addresses, parse_addresses
from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import call_metadata

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"})
ARRIVALS = ("poisson", "constant")
PRIORITIES = ("low", "normal", "high")
CALL_KINDS = ("unary", "batch", "stream")
# A server of gRPC's C core counts a call against the limit of its connection, 4,096 at a Linnaeus server, until the
# memory of the call is freed, which is later than its answer. It resets calls beyond that before the server sees them.
# Far below the limit none is.
CALLS_PER_CONNECTION = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Constant load for a fixed time.

    Attributes:
        target: the server's address, a gRPC target; it may name several, which take turns.
        pictures: image files, sent in turn.
        model, version: as in the contract; empty for the server's defaults.
        top_k: the number of classes to return; 0 for the server's default.
        rate: images a second in an open loop; None for a closed loop.
        concurrency: the number of callers in a closed loop; None for an open loop.
        arrivals: of an open loop, "poisson" (like many independent users) or "constant".
        duration_seconds: the measured time.
        warmup_seconds: the time before that, under the same load.
        deadline_seconds: the latency above which a call is late.
        cancel_rate: the share of calls that the load tester cancels shortly after sending them, 0 to 1.
        corrupt_rate: the share of calls with a corrupt image, 0 to 1.
        priority: "low", "normal" or "high"; None to send none.
        rpc: "unary", "batch" (`batch_size` images a request) or "stream".
        batch_size: images a request if `rpc` is "batch".
        connections: the number of channels of all processes; every process has at least one. 0 for one for each
            `CALLS_PER_CONNECTION` calls that may be in flight; see `with_server_connections`.
        processes: the number of generator processes; 0 for half the cores, at least one.
        max_in_flight: the maximum number of requests in flight in an open loop, of all processes.
        metrics_url: the address of the server's metrics; None to derive it from the target, "" to read none.
        seed: of arrivals, cancelled calls and corrupt images.
        tls: how the connections are encrypted; None for plain ones.
        token: sent with every call; None for none. Never part of a result.

    Raises:
        ValueError: if an attribute is out of range, or the token would travel unencrypted to another machine. The
            message says which, and what it may be.
    """

    target: str
    pictures: tuple[Path, ...]
    model: str = ""
    version: str = ""
    top_k: int = 1
    rate: float | None = None
    concurrency: int | None = None
    arrivals: str = "poisson"
    duration_seconds: float = 10.0
    warmup_seconds: float = 1.0
    deadline_seconds: float = 30.0
    cancel_rate: float = 0.0
    corrupt_rate: float = 0.0
    priority: str | None = None
    rpc: str = "unary"
    batch_size: int = 8
    connections: int = 1
    processes: int = 0
    max_in_flight: int = 4096
    metrics_url: str | None = None
    seed: int = 1
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Checks the attributes."""
        self._check_names()
        self._check_load()
        self._check_numbers()
        # Checked here, not in the processes: a wrong token or an unreadable certificate is wrong usage.
        _ = self.metadata
        if self.tls is not None:
            self.tls.credentials()

    @property
    def addresses(self) -> Addresses:
        """The servers' addresses."""
        return parse_addresses(self.target)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of every call; holds the token."""
        return call_metadata(self.token, self.addresses, self.tls)

    @property
    def process_count(self) -> int:
        """The number of generator processes: as given, or half the cores, and never more than there are callers."""
        wanted = self.processes or max(1, (os.cpu_count() or 1) // 2)
        return min(wanted, self.concurrency or wanted)

    @property
    def connection_count(self) -> int:
        """The number of connections: as given, or enough for the calls that may be in flight."""
        return self.connections or math.ceil(self._most_in_flight / CALLS_PER_CONNECTION)

    def with_server_connections(self, connections: int) -> "Plan":
        """Returns the plan with the number of connections that is used.

        Args:
            connections: how many the server tells a busy caller to open. A number that is given counts more; further
                ones than there may be calls in flight are not opened, but at least `connection_count`.
        """
        told = 0 if self.connections else min(connections, self._most_in_flight)
        return replace(self, connections=max(self.connection_count, told, self.process_count))

    @property
    def _most_in_flight(self) -> int:
        return self.max_in_flight if self.concurrency is None else self.concurrency

    @property
    def images_per_call(self) -> int:
        """The number of images in one request."""
        return self.batch_size if self.rpc == "batch" else 1

    def options(self) -> dict[str, Any]:
        """Returns what a result says of the plan: everything but the secrets."""
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "token"}
        return shown | {"pictures": [str(picture) for picture in self.pictures], "tls": self.tls is not None}

    def _check_names(self) -> None:
        _require(bool(self.target), "the target is empty: give the server's address, such as localhost:8001")
        _require(bool(self.pictures), "there is no picture to send: name at least one file or folder")
        for name, value, known in (
            ("arrivals", self.arrivals, ARRIVALS),
            ("rpc", self.rpc, CALL_KINDS),
            ("priority", self.priority, (None, *PRIORITIES)),
        ):
            words = ", ".join(word for word in known if word)
            _require(value in known, f"{name} is {value!r}: it is one of {words}")

    def _check_load(self) -> None:
        loops = (self.rate is not None) + (self.concurrency is not None)
        _require(loops == 1, "give either a rate (open loop) or a concurrency (closed loop), and not both")
        _require(self.rate is None or 0 < self.rate < 1e7, f"the rate is {self.rate}: it must be above 0")
        _require(self.concurrency is None or self.concurrency >= 1, f"concurrency is {self.concurrency}: at least 1")

    def _check_numbers(self) -> None:
        for name in ("duration_seconds", "deadline_seconds"):
            value = getattr(self, name)
            _require(0 < value <= 86_400, f"{name} is {value}: it must be above 0 and at most a day")
        _require(0 <= self.warmup_seconds <= 86_400, f"warmup_seconds is {self.warmup_seconds}: 0 or more")
        for name in ("cancel_rate", "corrupt_rate"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} is {value}: it is a share, from 0 to 1")
        _require(self.cancel_rate + self.corrupt_rate <= 1, "cancel_rate and corrupt_rate together exceed 1")
        streamed = self.rpc == "stream" and self.cancel_rate > 0
        _require(not streamed, "cancel_rate does not go with rpc stream: one message of a stream cannot be cancelled")
        for name in ("batch_size", "max_in_flight"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}: it must be at least 1")
        for name in ("connections", "processes", "top_k"):
            value = getattr(self, name)
            _require(value >= 0, f"{name} is {value}: it must be 0 or more")


def expand_pictures(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Returns the files, and the images in the folders and their subfolders, sorted by path.

    Raises:
        ValueError: if a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        found += _images_of(path)
    if not found:
        raise ValueError("there is no picture to send: name at least one file or folder")
    return tuple(found)


def _images_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path} is neither a file nor a folder")
    inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES and each.is_file())
    if not inside:
        raise ValueError(f"{path} holds no picture: looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return inside


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
