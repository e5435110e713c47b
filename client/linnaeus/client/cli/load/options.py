"""What the options of `load` mean: times as people write them, and which of the four kinds of load was asked for.

It must not know how a load test runs.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

from linnaeus.client.load.analysis.objective import Objective, parse_ramp

DEFAULT_CONCURRENCY = 16
# A search begins low enough for the slowest models and ends where no tester in Python could follow.
SEARCH_FROM = 10.0
SEARCH_TO = 100_000.0

_TIME = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>ms|s|m|h|)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Reads `10s`, `500ms`, `2m`, `1h` or plain seconds.

    Raises:
        ValueError: it is none of these; the message names the text.
    """
    match = _TIME.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no time: write seconds, or a number with ms, s, m or h, such as 500ms or 2m")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"]]


@dataclass(frozen=True, slots=True)
class Load:
    """Which load is put on the server.

    Attributes:
        kind: one spell, a ramp of them, or a search.
        rate: calls a second of an open loop; of a ramp the lowest, of a search where it begins.
        concurrency: callers of a closed loop.
        rates: of a ramp.
        objective: of a search.
    """

    kind: Literal["single", "ramp", "search"]
    rate: float | None = None
    concurrency: int | None = None
    rates: tuple[float, ...] = ()
    objective: Objective | None = None

    @classmethod
    def choose(cls, rate: float | None, concurrency: int | None, ramp: str | None, search: str | None) -> Self:
        """Makes one load of the options; a closed loop of 16 callers where none is given.

        Raises:
            ValueError: the options exclude each other, or one is not well written.
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
            return cls._search(Objective.parse(search), SEARCH_FROM if rate is None else rate)
        if rate is not None:
            return cls("single", rate=rate)
        return cls("single", concurrency=DEFAULT_CONCURRENCY if concurrency is None else concurrency)

    @classmethod
    def _search(cls, objective: Objective, start: float) -> Self:
        if not 0 < start <= SEARCH_TO:
            raise ValueError(f"--rate is {start:g}: a search begins above 0 and at most at {SEARCH_TO:g} calls/s")
        return cls("search", rate=start, objective=objective)
