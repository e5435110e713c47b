"""`linnaeus-zoo inspect`: shows the layers or parameters of a model."""

from __future__ import annotations  # types of torch, which is imported late

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from torch import nn

    from linnaeus.models.inspection.model_summary import Layer, ModelSummary, Shape
    from linnaeus.models.inspection.parameters import ParameterStatistics
    from linnaeus.models.zoo_model import ZooModel

# For pipes and files, in place of Rich's 80 columns, which fold the table.
_FILE_WIDTH = 200


class LayerKind(StrEnum):
    """The kind of layers to show."""

    CONV = "conv"


def inspect(
    name: Annotated[str, typer.Argument(help="A model of the zoo.")],
    first: Annotated[
        int | None,
        typer.Option("--stages", metavar="K", help="Only the first K stages, as a module of their own."),
    ] = None,
    only: Annotated[LayerKind | None, typer.Option(help="Only the convolutions, by their full names.")] = None,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="The named parameters: shape, count, mean, deviation.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="bundled|random|DEFAULT|FILE",
            help="Whose parameters. Left out: those that come along, or fresh ones as the initialisation draws them.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows a model's layers: kernel, stride, output shape (CxHxW), parameters and multiply-adds for one image."""
    if only and parameters:
        raise ValueError("--only conv shows layers and --parameters shows parameters; say one of them")
    if weights and not parameters:
        raise ValueError("--weights says whose parameters are shown; say --parameters as well")
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.inspection.parameters import parameter_statistics
    from linnaeus.models.inspection.submodels import first_stages
    from linnaeus.models.registry import find

    model = find(name)
    network, source = _network_with_weights(model, weights) if parameters else (_network_without_weights(model), "")
    image = (model.input.channels, model.input.height, model.input.width)
    part = network if first is None else first_stages(network, first)
    summary = _summarize_part(network, part, image, only)
    statistics = parameter_statistics(part) if parameters else ()
    if as_json:
        print(json.dumps(_as_json(model, image, summary, statistics), indent=1))
        return
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    console.print(_heading(model, image, summary, network, first), soft_wrap=True)
    if parameters:
        console.print(f"Values: {source}.", soft_wrap=True)
    console.print(_parameter_table(statistics) if parameters else _layer_table(summary, flat=only is not None))


def _network_without_weights(model: ZooModel) -> nn.Module:
    """Builds the network on the meta device, which is immediate: shapes and counts need no values."""
    import torch

    try:
        with torch.device("meta"):
            return model.network().eval()
    except NotImplementedError:  # torchvision's RegNets read values of tensors in their constructors
        return model.network().to("meta").eval()


def _network_with_weights(model: ZooModel, source: str | None) -> tuple[nn.Module, str]:
    """Returns the network with weights, and a description of their source."""
    import torch

    from linnaeus.models.weights.selection import BUNDLED, select_weights

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = model.network().eval()
    if source is None and model.bundled is None:
        return network, "untrained, as the initialisation leaves them with seed 0"
    _, weights = select_weights(model, source or BUNDLED)
    network.load_state_dict(weights.state)
    return network, f"trained, {weights.source}" if weights.seed is None else f"untrained, random, seed {weights.seed}"


def _summarize_part(network: nn.Module, part: nn.Module, image: Shape, only: LayerKind | None) -> ModelSummary:
    """Returns the totals of the part, and its layers as they are in the whole network: tracing changes classes."""
    from linnaeus.models.inspection.model_summary import ModelSummary, summarize
    from linnaeus.models.inspection.submodels import convolutions

    whole, total = summarize(network, image), summarize(part, image)
    shown = convolutions(part).keys() if only else dict(part.named_modules()).keys()
    layers = tuple(layer for layer in whole.layers if layer.name in shown)
    return ModelSummary(layers, total.output, total.parameters, total.multiply_adds)


def _as_json(
    model: ZooModel, image: Shape, summary: ModelSummary, statistics: tuple[ParameterStatistics, ...]
) -> dict[str, Any]:
    data = {"name": model.name, "family": model.family, "input": image, **asdict(summary)}
    return {**data, "named_parameters": [asdict(each) for each in statistics]} if statistics else data


def _heading(model: ZooModel, image: Shape, summary: ModelSummary, network: nn.Module, first: int | None) -> Text:
    from linnaeus.models.inspection.submodels import stage_names

    names = stage_names(network)
    part = f", stages 1 to {first} of {len(names)} (up to {names[first - 1]})" if first else ""
    return Text.assemble(
        (model.name, "bold"),
        f" ({model.family}, {model.year}){part}: {_shape(image)} in, {_shape(summary.output)} out, "
        f"{summary.parameters:,} parameters, {summary.multiply_adds:,} multiply-adds",
    )


def _layer_table(summary: ModelSummary, flat: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
    table.add_column("layer", "total", overflow="fold")
    for column, footer in (("kernel", ""), ("stride", ""), ("output", _shape(summary.output))):
        table.add_column(column, footer, overflow="fold")
    for column, total in (("parameters", summary.parameters), ("multiply-adds", summary.multiply_adds)):
        table.add_column(column, f"{total:,}", justify="right", no_wrap=True)
    for layer in summary.layers:
        table.add_row(
            _title(layer, flat),
            _size(layer.kernel),
            _size(layer.stride),
            "\n".join(map(_shape, layer.outputs)) or "not run",
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        )
    return table


def _title(layer: Layer, flat: bool) -> Text:
    """Returns the full name, or its last part indented by depth; then the class."""
    name = layer.name if flat else "  " * layer.depth + layer.name.rpartition(".")[2]
    return Text.assemble(name, " ", (layer.kind, "cyan"))


def _parameter_table(parameters: tuple[ParameterStatistics, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
    table.add_column("parameter", "total", overflow="fold")
    table.add_column("shape", no_wrap=True)
    table.add_column("count", f"{sum(parameter.count for parameter in parameters):,}", justify="right", no_wrap=True)
    for column in ("mean", "std"):
        table.add_column(column, justify="right", no_wrap=True)
    for parameter in parameters:
        table.add_row(
            parameter.name,
            _shape(parameter.shape),
            f"{parameter.count:,}",
            f"{parameter.mean:.4g}",
            f"{parameter.std:.4g}",
        )
    return table


def _size(size: tuple[int, int] | None) -> str:
    return _shape(size) if size else ""


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
