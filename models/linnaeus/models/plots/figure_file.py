"""Writes figures to files; also the colors that the plots share."""

from pathlib import Path

from matplotlib.figure import Figure

from linnaeus.models.output_folder import make_folder

# The palette of Okabe and Ito, which is distinguishable with color blindness.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
_DOTS_PER_INCH = 120


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the file's suffix; creates the folder.

    Raises:
        ValueError: if the suffix is not that of an image format, or the path is that of a folder.
        OSError: if the file cannot be written.
    """
    if path.is_dir() or not path.suffix:
        raise ValueError(f"{path} must name a picture, such as {path.name or 'widths'}.png")
    make_folder(path.parent)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
