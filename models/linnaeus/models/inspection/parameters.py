"""A network's named parameters with their statistics."""

from dataclasses import dataclass

from torch import nn

from linnaeus.models.inspection.model_summary import Shape


@dataclass(frozen=True, slots=True)
class ParameterStatistics:
    """One named parameter; mean and std are over all its parameter_values."""

    name: str
    shape: Shape
    count: int
    mean: float
    std: float


def parameter_statistics(network: nn.Module) -> tuple[ParameterStatistics, ...]:
    """The statistics of every named parameter, in the order they are registered."""
    return tuple(
        ParameterStatistics(
            name,
            tuple(values.shape),
            values.numel(),
            values.mean().item(),
            values.std(correction=0).item(),
        )
        for name, values in network.named_parameters()
    )
