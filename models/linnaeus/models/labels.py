"""Labels by class index: those of the data sets, and those of a user's file."""

from pathlib import Path

from torchvision.models import EfficientNet_B0_Weights


def digits() -> tuple[str, ...]:
    """Returns the ten digits."""
    return tuple("0123456789")


def imagenet() -> tuple[str, ...]:
    """Returns the 1000 classes of ImageNet-1K with torchvision's names."""
    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def cifar10() -> tuple[str, ...]:
    """Returns the ten classes of CIFAR-10."""
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read_label_file(path: Path) -> tuple[str, ...]:
    """Reads one label per line from a UTF-8 text file; ignores blank lines at the end.

    Raises:
        ValueError: if the file is empty, has an empty line between labels, or is not UTF-8.
        OSError: if the file cannot be read.
    """
    try:
        # utf-8-sig: a byte-order mark is not part of the first label
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the labels in {path} are not UTF-8: {error}") from error
    labels = tuple(line.strip() for line in lines)
    if not labels:
        raise ValueError(f"there are no labels in {path}")
    for number, label in enumerate(labels, 1):
        if not label:
            raise ValueError(f"{path} line {number} is empty, but must be the label of class {number - 1}")
    return labels
