"""Parses the options of `load`: durations, the number of connections, and the load profile."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from linnaeus.client.load.analysis.objective import Objective, parse_ramp

DEFAULT_CONCURRENCY = 16
# The default range of a search: low enough for the slowest models, higher than any load generator in Python.
MIN_SEARCH_RATE = 10.0
MAX_SEARCH_RATE = 100_000.0

_TIME = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>ms|s|m|h|)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Returns the seconds of `10s`, `500ms`, `2m`, `1h` or a plain number.

    Raises:
        ValueError: if the text is none of these. The message names it.
    """
    match = _TIME.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no time: write seconds, or a number with ms, s, m or h, such as 500ms or 2m")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"]]


def parse_connections(text: str) -> int:
    """Returns the number of connections; 0 for "auto".

    Raises:
        ValueError: if the text is neither. The message names it.
    """
    if text == "auto":
        return 0
    if not text.isdecimal():
        raise ValueError(f"--connections is {text!r}: it is auto, or a number such as 8")
    return int(text)


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """The load of a test.

    Attributes:
        kind: one measurement, a ramp of rates, or a search for a rate.
        rate: calls a second of an open loop; the lowest rate of a ramp, the first rate of a search.
        concurrency: the number of callers of a closed loop.
        rates: the rates of a ramp.
        objective: the objective of a search.
    """

    kind: Literal["single", "ramp", "search"]
    rate: float | None = None
    concurrency: int | None = None
    rates: tuple[float, ...] = ()
    objective: Objective | None = None

    @classmethod
    def from_options(cls, rate: float | None, concurrency: int | None, ramp: str | None, search: str | None) -> Self:
        """Returns the load profile; by default a closed loop of 16 callers.

        Raises:
            ValueError: if the options exclude each other, or one is malformed.
        """
        given = [
            name
            for name, value in (
                ("--concurrency", concurrency),
                ("--ramp", ramp),
                ("--search", search),
                ("--rate", rate),
            )
            if value is not None
        ]
        if len(given) > 1 and given != ["--search", "--rate"]:
            raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
        if ramp is not None:
            rates = parse_ramp(ramp)
            return cls("ramp", rate=rates[0], rates=rates)
        if search is not None:
            return cls._search(Objective.parse(search), MIN_SEARCH_RATE if rate is None else rate)
        if rate is not None:
            return cls("single", rate=rate)
        return cls("single", concurrency=DEFAULT_CONCURRENCY if concurrency is None else concurrency)

    @classmethod
    def _search(cls, objective: Objective, first_rate: float) -> Self:
        if not 0 < first_rate <= MAX_SEARCH_RATE:
            raise ValueError(
                f"--rate is {first_rate:g}: a search begins above 0 and at most at {MAX_SEARCH_RATE:g} calls/s"
            )
        return cls("search", rate=first_rate, objective=objective)
