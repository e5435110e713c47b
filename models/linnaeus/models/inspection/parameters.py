"""Statistics of a network's named parameters."""

from dataclasses import dataclass

from torch import nn

from linnaeus.models.inspection.model_summary import Shape


@dataclass(frozen=True, slots=True)
class ParameterStatistics:
    """One named parameter; `mean` and the population `std` are over all its elements."""

    name: str
    shape: Shape
    count: int
    mean: float
    std: float


def parameter_statistics(network: nn.Module) -> tuple[ParameterStatistics, ...]:
    """Returns the statistics of every named parameter, in order of registration."""
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
