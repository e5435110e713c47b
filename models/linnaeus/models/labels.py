"""Label lists, by class index."""

from pathlib import Path

from torchvision.models import EfficientNet_B0_Weights


def digits() -> tuple[str, ...]:
    """The ten digits."""
    return tuple("0123456789")


def imagenet() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1K, as torchvision names them."""
    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def read_label_file(path: Path) -> tuple[str, ...]:
    """Reads the labels of a UTF-8 text file; blank lines at its end do not count.

    Raises:
        ValueError: it is empty, has an empty line between labels, or is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        # a byte-order mark is no part of the first label
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


def cifar10() -> tuple[str, ...]:
    """The ten classes of CIFAR-10, by class index."""
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
