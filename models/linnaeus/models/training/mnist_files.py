"""The files of MNIST on disk: tells which are whole, and downloads those that are not."""

import math
import struct
from pathlib import Path

from torchvision.datasets import MNIST
from torchvision.datasets.utils import download_and_extract_archive

# Of the IDX format: two zero bytes, the type of the values (8: uint8), the number of dimensions.
_MAGIC = struct.Struct(">HBB")
_UINT8 = 8


def complete_mnist(root: Path) -> None:
    """Downloads what is missing or broken of MNIST below `root`, in torchvision's layout; whole files stay.

    Raises:
        RuntimeError: if a file is missing or broken and cannot be downloaded.
    """
    folder = root / "MNIST" / "raw"
    for archive, md5 in MNIST.resources:
        file = folder / Path(archive).stem
        if not is_whole(file):
            _download(archive, md5, file)


def is_whole(file: Path) -> bool:
    """Returns whether a file is as long as its IDX header says: an interrupted download or unpacking leaves it shorter.

    The digests of MNIST's files are not asked for, as the files may be a part of MNIST or somebody's own digits.
    """
    try:
        with file.open("rb") as stream:
            zero, kind, dimensions = _MAGIC.unpack(stream.read(_MAGIC.size))
            sizes = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
        return (zero, kind) == (0, _UINT8) and file.stat().st_size == 4 + 4 * dimensions + math.prod(sizes)
    except (OSError, struct.error):
        return False


def _download(archive: str, md5: str, file: Path) -> None:
    """Downloads an archive from the first of MNIST's mirrors that has it, unless it is there, and unpacks it."""
    reason: Exception | None = None
    for mirror in MNIST.mirrors:
        try:
            download_and_extract_archive(f"{mirror}{archive}", str(file.parent), filename=archive, md5=md5)
            return
        except (RuntimeError, OSError) as error:
            reason = reason or error
    state = "is broken" if file.exists() else "is missing"
    raise RuntimeError(
        f"MNIST's {file} {state} and cannot be downloaded ({reason}); name with --data a folder that has MNIST/raw/"
    ) from reason
