"""The zoo's one list of names: how each network is built, what it takes and where its weights come from."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from linnaeus.models import labels, weights
from linnaeus.models.architectures.efficientnet_lite import EfficientNetLite0
from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.manifest import InputSpec


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One name of the zoo.

    Attributes:
        name: what it is called in the repository and on the wire.
        family: the architecture's family, for people.
        year: when it was published.
        build: makes the network with random weights; it maps normalised float32 [N, C, H, W] to logits [N, classes].
        input: what pictures become before the model sees them.
        mean, std: normalisation for each channel, of pixels scaled to 0..1.
        labels: gives one label for each class.
        weights: gives the trained weights.
    """

    name: str
    family: str
    year: int
    build: Callable[[], nn.Module]
    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: Callable[[], tuple[str, ...]]
    weights: Callable[[], weights.TrainedWeights]


ZOO: dict[str, ZooModel] = {
    model.name: model
    for model in (
        ZooModel(
            name="lenet",
            family="LeNet",
            year=1998,
            build=LeNet,
            input=InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear"),
            mean=(0.1307,),
            std=(0.3081,),
            labels=labels.digits,
            weights=weights.bundled_lenet,
        ),
        ZooModel(
            name="efficientnet_lite0",
            family="EfficientNet-Lite",
            year=2020,
            build=EfficientNetLite0,
            input=InputSpec(channels=3, height=224, width=224, resize=224, interpolation="bicubic"),
            mean=(0.498, 0.498, 0.498),
            std=(0.502, 0.502, 0.502),
            labels=labels.imagenet,
            weights=weights.packaged_efficientnet_lite0,
        ),
    )
}


def find(name: str) -> ZooModel:
    """Returns the model of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    try:
        return ZOO[name]
    except KeyError:
        raise ValueError(f"there is no model {name!r} in the zoo; there are: {', '.join(ZOO)}") from None
