"""Makes the folders that commands write into."""

from pathlib import Path


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        ValueError: if something else has this path, or one above it.
        OSError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{folder} cannot be written into, because it is no folder, or lies below a file") from None
