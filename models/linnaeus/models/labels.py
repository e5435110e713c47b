"""Labels by class index: those of the data sets, and those of a user's file."""

from pathlib import Path

from torchvision.models import EfficientNet_B0_Weights

from linnaeus.models.manifest import parse_labels
from linnaeus.text_files import TextFileError, read_text_file


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
    """Reads one label per line from a UTF-8 text file; ignores blank lines at the end, and spaces around a label.

    Raises:
        ValueError: if the file is empty, has an empty line between labels or a control character, or is not UTF-8.
        OSError: if the file cannot be read.
    """
    try:
        text = read_text_file(path)
    except TextFileError as error:
        raise ValueError(f"the labels in {path} cannot be read: {error}") from None
    try:
        labels = tuple(label.strip() for label in parse_labels(text))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    if not labels:
        raise ValueError(f"there are no labels in {path}")
    return labels
