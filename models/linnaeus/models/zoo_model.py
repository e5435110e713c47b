"""A model of the zoo, and weights for one."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

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
        bundled_package: the package that has the trained weights, as it is imported; None if they are in the project.
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
    bundled_package: str | None = None
    download: Callable[[], WeightsEnum] | None = None

    @property
    def classes(self) -> int:
        """Number of classes, unless the user provides other labels."""
        return len(self.labels())

    @property
    def has_installed_weights(self) -> bool:
        """Whether trained weights are installed; those of some models are in an extra of their own."""
        return self.bundled is not None and (
            self.bundled_package is None or find_spec(self.bundled_package) is not None
        )

    def network(self) -> nn.Module:
        """Builds the network for the model's own classes, initialized and in training mode."""
        return self.build(self.classes)

    def bundled_weights(self) -> ModelWeights:
        """Loads the trained weights that are installed with the project.

        Raises:
            ValueError: if there are none.
            ModuleNotFoundError: if they are in a package that is not installed.
        """
        if self.bundled is None:
            raise ValueError(
                f"no weights come with {self.name}; say --weights random, --weights DEFAULT or --weights FILE"
            )
        return self.bundled()
