"""How the overload benchmark tells what it found: promises with their bounds and figures, and plain tables.

It must not know how a figure was measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, held against its figure; or a figure that stands for itself.

    Attributes:
        promise: what is measured, in plain words.
        bound: what was asked for, such as "at least 0.95"; empty where the figure is told only.
        figure: what was found, with its unit.
        kept: None where it could not be measured, or nothing was asked for.
    """

    promise: str
    bound: str
    figure: str
    kept: bool | None

    @property
    def verdict(self) -> str:
        """The last column: kept, missed, not measured, or nothing where nothing was asked for."""
        if not self.bound:
            return ""
        return NOT_MEASURED if self.kept is None else "kept" if self.kept else "missed"


def only_told(what: str, figure: str) -> Finding:
    """A figure worth keeping for which there is no bound."""
    return Finding(what, "", figure, None)


def at_least(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """A promise whose figure may not be below the bound; None: it could not be measured."""
    return _held(promise, "at least", bound, figure, unit, digits, figure is not None and figure >= bound)


def at_most(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """A promise whose figure may not be above the bound; None: it could not be measured."""
    return _held(promise, "at most", bound, figure, unit, digits, figure is not None and figure <= bound)


def below(promise: str, bound: float, figure: float | None, unit: str = "", digits: int = 3) -> Finding:
    """A promise whose figure must be below the bound; None: it could not be measured."""
    return _held(promise, "below", bound, figure, unit, digits, figure is not None and figure < bound)


def _held(promise: str, words: str, bound: float, figure: float | None, unit: str, digits: int, holds: bool) -> Finding:
    told = "-" if figure is None else f"{figure:.{digits}f}{unit}"
    return Finding(promise, f"{words} {bound:g}{unit}", told, None if figure is None else holds)


def tell(title: str, findings: Iterable[Finding]) -> None:
    """Prints a part's promises as a table."""
    table = [(each.promise, each.bound, each.figure, each.verdict) for each in findings]
    print_table(title, ("promise", "asked", "found", ""), table)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under their heads, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}")
    for first, *others in (head, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([f"  {first:<{widths[0]}}", *cells]).rstrip(), flush=True)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all do not exceed; None of nothing."""
    inorder = sorted(values)
    return inorder[max(math.ceil(share * len(inorder)), 1) - 1] if inorder else None


def milliseconds(seconds: float | None) -> str:
    """Seconds as text in milliseconds; "-" for None."""
    return "-" if seconds is None else f"{1e3 * seconds:.1f} ms"
