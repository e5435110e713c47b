"""What the zoo knows of one name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models import WeightsEnum

from linnaeus.models.manifest import InputSpec


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """A state dict that fits its network, and where it comes from.

    `seed` is set for untrained weights only, whose source is "random".
    """

    state: dict[str, Tensor]
    source: str
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One name of the zoo.

    Attributes:
        name: what it is called in the repository and on the wire.
        family: the architecture's family, for people.
        year: when it was published.
        build: makes the network for a number of classes, as its initialisation leaves it and in training mode; in
            evaluation mode it maps normalised float32 [N, C, H, W] to logits [N, classes].
        input: what pictures become before the model sees them.
        mean, std: normalisation for each channel, of pixels scaled to 0..1.
        labels: gives one label for each class.
        bundled: gives trained weights that come with the project or one of its packages; None if there are none.
        download: gives torchvision's weights, which have to be downloaded; None if there are none.
    """

    name: str
    family: str
    year: int
    build: Callable[[int], nn.Module]
    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: Callable[[], tuple[str, ...]]
    bundled: Callable[[], ModelWeights] | None = None
    download: Callable[[], WeightsEnum] | None = None

    @property
    def classes(self) -> int:
        """How many classes it tells apart, unless its user brings labels of their own."""
        return len(self.labels())

    def network(self) -> nn.Module:
        """The network for the model's own classes, as its initialisation leaves it."""
        return self.build(self.classes)

    def bundled_weights(self) -> ModelWeights:
        """The trained weights that come with the project.

        Raises:
            ValueError: there are none.
        """
        if self.bundled is None:
            raise ValueError(
                f"no weights come with {self.name}; say --weights random, --weights DEFAULT or --weights FILE"
            )
        return self.bundled()
