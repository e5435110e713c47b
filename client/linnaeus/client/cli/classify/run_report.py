"""What a run of many images tells on stderr: each cause of failure once, when to give up, and a summary.

Counts and writes; makes no call.
"""

import time
from collections import Counter
from collections.abc import Callable

from linnaeus.client.cli import output
from linnaeus.client.cli.classify.outcomes import CommandOutcome, Failed

# A run of fewer images can be read without a summary.
MANY_IMAGES = 20
# Causes that differ in a number only, such as the server's identifiers of failures.
_MAX_LINES_OF_A_KIND = 10


class RunReport:
    """The report of one run.

    Invariants:
        - what is wrong with one image is a line of its own; what is wrong with the server is a line for each cause;
        - a run is hopeless if its first images failed by a cause that concerns all, or so many in a row.

    Args:
        total: the number of images; None if it is unknown.
        patience: how many images in a row may fail by a cause that concerns all, once one had an answer.
        clock: monotonic, in seconds.
    """

    def __init__(self, total: int | None, patience: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._patience = patience
        self._clock = clock
        self._started = clock()
        self._answered = self._failed = self._failed_in_a_row = 0
        self._causes: set[str] = set()
        self._lines: Counter[type[Exception]] = Counter()

    def count(self, outcome: CommandOutcome) -> None:
        """Counts an image."""
        if isinstance(outcome, Failed):
            self._failed += 1
            self._failed_in_a_row += outcome.concerns_all
        else:
            self._answered += 1
            self._failed_in_a_row = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether the images that are left would fail, too."""
        return self._failed_in_a_row > (self._patience if self._answered else 0)

    def write_failure(self, failed: Failed) -> None:
        """Writes the line of a failure, unless its cause was told before."""
        if failed.explanation is None:
            output.write_error(f"{failed.picture}: {failed.message}")
            return
        kind = type(failed.error)
        if failed.message in self._causes or self._lines[kind] == _MAX_LINES_OF_A_KIND:
            return
        self._causes.add(failed.message)
        self._lines[kind] += 1
        output.write_error(failed.message if failed.concerns_all else f"{failed.picture}: {failed.message}")

    def write_summary(self) -> None:
        """Writes one line, if there were many images."""
        done = self._answered + self._failed
        total = max(done, self._total or 0)
        if total < MANY_IMAGES:
            return
        seconds = self._clock() - self._started
        parts = [f"{self._answered:,} of {total:,} pictures classified"]
        parts += [f"{self._failed:,} failed"] * (self._failed > 0)
        parts += [f"{total - done:,} not sent"] * (total > done)
        output.write_error(f"{', '.join(parts)}, in {seconds:.1f} s")
