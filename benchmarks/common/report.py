"""Printed reports: figures with the bounds that they must keep, and plain tables.

Nothing here knows how a figure was measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure, with the bound that was promised for it or without one.

    Attributes:
        promise: what is measured.
        bound: such as "at least 0.95"; empty if nothing was promised.
        figure: the measured value with its unit.
        kept: None if it could not be measured, or nothing was promised.
    """

    promise: str
    bound: str
    figure: str
    kept: bool | None

    @property
    def verdict(self) -> str:
        """The last column: kept, missed, not measured, or empty if nothing was promised."""
        if not self.bound:
            return ""
        return NOT_MEASURED if self.kept is None else "kept" if self.kept else "missed"


def informational(what: str, figure: str) -> Finding:
    """Returns a figure without a bound."""
    return Finding(what, "", figure, None)


def at_least(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """Returns a figure that must not be below the bound; None is one that could not be measured."""
    return _compared(promise, "at least", bound, figure, unit, digits, figure is not None and figure >= bound)


def at_most(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """Returns a figure that must not be above the bound; None is one that could not be measured."""
    return _compared(promise, "at most", bound, figure, unit, digits, figure is not None and figure <= bound)


def below(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """Returns a figure that must be below the bound; None is one that could not be measured."""
    return _compared(promise, "below", bound, figure, unit, digits, figure is not None and figure < bound)


def _compared(
    promise: str, words: str, bound: float, figure: float | None, unit: str, digits: int, holds: bool
) -> Finding:
    text = "-" if figure is None else f"{figure:.{digits}f}{unit}"
    return Finding(promise, f"{words} {bound:g}{unit}", text, None if figure is None else holds)


def print_findings(title: str, findings: Iterable[Finding]) -> None:
    """Prints findings as a table."""
    table = [(each.promise, each.bound, each.figure, each.verdict) for each in findings]
    print_table(title, ("promise", "asked", "found", ""), table)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, the first column aligned to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}")
    for first, *others in (head, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([f"  {first:<{widths[0]}}", *cells]).rstrip(), flush=True)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Returns the smallest value that at least this share of all values do not exceed; None without values."""
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)), 1) - 1] if ranked else None


def milliseconds(seconds: float | None) -> str:
    """Formats seconds in milliseconds; None as "-"."""
    return "-" if seconds is None else f"{1e3 * seconds:.1f} ms"
