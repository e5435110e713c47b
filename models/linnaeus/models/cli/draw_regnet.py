"""`linnaeus-zoo draw-regnet`: plots the widths of a RegNet."""

from pathlib import Path
from typing import Annotated

import typer


def draw_regnet(
    depth: Annotated[int | None, typer.Option(help="Blocks in all stages together.")] = None,
    w0: Annotated[int | None, typer.Option(help="First block's width, a multiple of 8.")] = None,
    wa: Annotated[float | None, typer.Option(help="By how much the widths rise for each block.")] = None,
    wm: Annotated[float | None, typer.Option(help="Factor from one stage's width to the next.")] = None,
    group_width: Annotated[int | None, typer.Option(help="Channels in each group of the 3x3 convolutions.")] = None,
    se_ratio: Annotated[
        float | None, typer.Option(help="Squeeze-and-excitation's share of a block's input channels.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("runs/regnet.png"),
) -> None:
    """Draws a RegNet's widths per block against its quantised line; RegNetX-400MF, but for what you change."""
    # Imported here, so that help and wrong usage do not wait seconds for torch and matplotlib.
    import torch

    from linnaeus.models.architectures.regnet import RegNetParameters
    from linnaeus.models.inspection.cost import measure_cost
    from linnaeus.models.plots.figure_file import save_figure
    from linnaeus.models.plots.regnet_widths import plot_widths
    from linnaeus.models.zoo_entries.regnet import REGNET_X_400MF, regnet_model

    default = REGNET_X_400MF
    parameters = RegNetParameters(
        default.depth if depth is None else depth,
        default.initial_width if w0 is None else w0,
        default.slope if wa is None else wa,
        default.width_multiplier if wm is None else wm,
        default.group_width if group_width is None else group_width,
    )
    model = regnet_model(
        parameters.depth,
        parameters.initial_width,
        parameters.slope,
        parameters.width_multiplier,
        parameters.group_width,
        se_ratio,
    )
    with torch.device("meta"):
        network = model.network()
    cost = measure_cost(network, (model.input.channels, model.input.height, model.input.width))
    excitation = "" if se_ratio is None else f", se = {se_ratio:g}"
    title = (
        f"RegNet d = {parameters.depth}, w0 = {parameters.initial_width}, wa = {parameters.slope:g}, "
        f"wm = {parameters.width_multiplier:g}, g = {parameters.group_width}{excitation}"
    )
    save_figure(plot_widths(parameters, cost, title), out)
    print(f"{out}: {cost}")
