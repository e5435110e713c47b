"""Writes matplotlib figures to files."""

from pathlib import Path

from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart as well.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
_DOTS_PER_INCH = 120


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the picture, making its folder; the name's ending says the format.

    Raises:
        ValueError: the ending names no format of a picture.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
