"""Networks for ImageNet that are written here."""

from linnaeus.models import labels, weights
from linnaeus.models.architectures.efficientnet_lite import EfficientNetLite0
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ZooModel

ROWS = (
    ZooModel(
        name="efficientnet_lite0",
        family="EfficientNet-Lite",
        year=2020,
        build=EfficientNetLite0,
        input=InputSpec(channels=3, height=224, width=224, resize=224, interpolation="bicubic"),
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        labels=labels.imagenet,
        bundled=weights.packaged_efficientnet_lite0,
    ),
)
