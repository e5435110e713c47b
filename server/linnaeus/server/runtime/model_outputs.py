"""The outputs of a stored model: probabilities, and features where the version has them."""

from typing import TypeAlias

from torch import Tensor

# Float32 [N, classes]; or that and features, float32 [N, d].
ModelOutputs: TypeAlias = Tensor | tuple[Tensor, Tensor]


def split_outputs(outputs: ModelOutputs) -> tuple[Tensor, Tensor | None]:
    """Returns the probabilities, and the features or None."""
    return outputs if isinstance(outputs, tuple) else (outputs, None)
