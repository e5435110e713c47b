"""A progress bar on stderr, shown only on a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from linnaeus.client.cli.classify.run_report import MANY_IMAGES


@contextlib.contextmanager
def progress_bar(total: int | None, *, writes_at_once: bool) -> Iterator[Callable[[bool], None]]:
    """Shows a bar while the block runs, if that is useful.

    Args:
        total: the number of images; None if it is unknown.
        writes_at_once: whether every outcome is written to stdout at once; on a terminal, that shows the progress.

    Yields:
        A function to be called after each image; its argument says whether the image failed.
    """
    shows_outcomes = writes_at_once and sys.stdout.isatty()
    if not sys.stderr.isatty() or shows_outcomes or (total is not None and total < MANY_IMAGES):
        yield lambda failed: None
        return
    with _bar() as bar:
        task = bar.add_task("classifying", total=total, failed="")
        failures = 0

        def advance(failed: bool) -> None:
            nonlocal failures
            failures += failed
            bar.update(task, advance=1, failed=f"{failures:,} failed" if failures else "")

        yield advance


def _bar() -> Progress:
    """Returns a bar that is erased at the end, so that the next output begins on a clean line."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # A table that is printed meanwhile appears above the bar. Output to a file must not go to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
