"""A model of the zoo, and weights for one."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models import WeightsEnum

from linnaeus.models.manifest import InputSpec


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """A state dict that fits its network, and its source.

    `seed` is set for untrained weights only, whose source is "random".
    """

    state: dict[str, Tensor]
    source: str
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: its name in the repository and in requests.
        family: the architecture's family, for display.
        year: year of publication.
        build: builds the network for a number of classes, initialized and in training mode. In evaluation mode the
            network maps normalized float32 [N, C, H, W] to logits [N, classes].
        input: how images are prepared for the model.
        mean, std: normalization per channel, for pixels scaled to 0..1.
        labels: returns one label per class.
        bundled: loads trained weights that are installed with the project; None if there are none.
        download: returns torchvision's weights, which have to be downloaded; None if there are none.
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
        """Number of classes, unless the user provides other labels."""
        return len(self.labels())

    def network(self) -> nn.Module:
        """Builds the network for the model's own classes, initialized and in training mode."""
        return self.build(self.classes)

    def bundled_weights(self) -> ModelWeights:
        """Loads the trained weights that are installed with the project.

        Raises:
            ValueError: if there are none.
        """
        if self.bundled is None:
            raise ValueError(
                f"no weights come with {self.name}; say --weights random, --weights DEFAULT or --weights FILE"
            )
        return self.bundled()
