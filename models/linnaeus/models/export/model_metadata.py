"""What a user says about a model, because its file does not contain it."""

from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.activation import Activation
from linnaeus.models.manifest import InputSpec, check_name
from linnaeus.models.own_model.normalization import normalization_fault


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model file does not contain.

    Attributes:
        name: name of the model in the repository.
        input: how images are prepared for the model.
        mean, std: normalization per channel, for pixels scaled to 0..1; None for a model that normalizes itself.
        labels: one label per class.
        calibration: folder of images on which the server compares precisions; none if None.
        activation: what is put after the network; None for a softmax, if the network gives logits.
        features: names the features among the network's outputs, see `feature_place`; None for no features.

    Raises:
        ValueError: if no model may have this name, or mean or std cannot be right for pixels between 0 and 1.
    """

    name: str
    input: InputSpec
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    labels: tuple[str, ...]
    calibration: Path | None = None
    activation: Activation | None = None
    features: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for option, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (fault := normalization_fault(option, values, self.input.channels)):
                raise ValueError(fault)

    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and std.

        Raises:
            ValueError: if one is missing.
        """
        if self.mean is None or self.std is None:
            missing = [f"--{option}" for option in ("mean", "std") if getattr(self, option) is None]
            raise ValueError(f"{' and '.join(missing)} must be given: say what it was trained with")
        return self.mean, self.std
