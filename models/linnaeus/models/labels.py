"""Label lists, by class index."""

from torchvision.models import EfficientNet_B0_Weights


def digits() -> tuple[str, ...]:
    """The ten digits."""
    return tuple("0123456789")


def imagenet() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1K, as torchvision names them."""
    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])
