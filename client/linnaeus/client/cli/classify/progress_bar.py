"""How far a long run has come: a bar on stderr, for people who watch a terminal, and nothing for anybody else."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

# Fewer are done before anybody could read the bar.
_MANY_PICTURES = 20


@contextlib.contextmanager
def progress(total: int | None, *, streams: bool) -> Iterator[Callable[[bool], None]]:
    """Shows a bar while the block runs, where it makes sense.

    Args:
        total: how many pictures there are; None where nobody knows.
        streams: whether every result goes to stdout at once; on a terminal, that is progress enough.

    Yields:
        What is to be told of every picture: whether it failed.
    """
    crowded = streams and sys.stdout.isatty()
    if not sys.stderr.isatty() or crowded or (total is not None and total < _MANY_PICTURES):
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
    """A bar that leaves nothing behind, so that what is printed next begins on a clean line."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # A table in between stands above the bar; what goes to a file must not end in the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
