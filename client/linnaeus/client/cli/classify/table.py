"""The table of `classify`: outcomes in, a rich table out."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from linnaeus.client.cli.classify.outcomes import Classified
from linnaeus.client.cli.output import plain_table, printable


def classification_table(outcomes: Iterable[Classified], *, narrow: bool = False) -> Table:
    """Returns a table with one row a class; the first row of an image holds what its classes share.

    An image without a class has one row, without a label.

    Args:
        outcomes: the images.
        narrow: whether to break lines at fixed places, to leave room for the labels.
    """
    table = plain_table()
    table.add_column("picture", overflow="fold")
    table.add_column("model", no_wrap=True)
    table.add_column("label", overflow="fold")
    for heading in ("probability", "milliseconds", "batch\nsize" if narrow else "batch size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        rows = _rows(outcome, "\n" if narrow else " ")
        for rank, row in enumerate(rows):
            table.add_row(*row, end_section=rank == len(rows) - 1 > 0)
    return table


def _rows(outcome: Classified, separator: str) -> list[Sequence[str]]:
    result = outcome.result
    untrained = " (untrained)" if outcome.trained is False else ""
    model = f"{printable(result.model)}{separator}v{result.version}{untrained}"
    shared = (printable(outcome.picture), model)
    costs = (f"{outcome.milliseconds:.1f}", str(result.batch_size))
    if not result.classes:
        return [(*shared, "", "", *costs)]
    return [
        (*(shared if rank == 0 else ("", "")), printable(scored.label), f"{scored.probability:.1%}")
        + (costs if rank == 0 else ("", ""))
        for rank, scored in enumerate(result.classes)
    ]
