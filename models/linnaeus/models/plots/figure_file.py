"""Writes figures to files; also the colors that the plots share."""

from pathlib import Path

from matplotlib.figure import Figure

# The palette of Okabe and Ito, which is distinguishable with color blindness.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
_DOTS_PER_INCH = 120


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the file's suffix; creates the folder.

    Raises:
        ValueError: if the suffix is not that of an image format.
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
