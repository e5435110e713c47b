"""`linnaeus-zoo draw-regnet`: plots the widths of a RegNet."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.inspection.cost import measure_cost
from linnaeus.models.zoo_entries.regnet import REGNET_X_400MF, regnet_model


def draw_regnet(
    depth: Annotated[int, typer.Option(help="Blocks in all stages together.")] = REGNET_X_400MF.depth,
    w0: Annotated[int, typer.Option(help="First block's width, a multiple of 8.")] = REGNET_X_400MF.initial_width,
    wa: Annotated[float, typer.Option(help="By how much the widths rise for each block.")] = REGNET_X_400MF.slope,
    wm: Annotated[
        float, typer.Option(help="Factor from one stage's width to the next.")
    ] = REGNET_X_400MF.width_multiplier,
    group_width: Annotated[
        int, typer.Option(help="Channels in each group of the 3x3 convolutions.")
    ] = REGNET_X_400MF.group_width,
    se_ratio: Annotated[
        float | None, typer.Option(help="Squeeze-and-excitation's share of a block's input channels.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("runs/regnet.png"),
) -> None:
    """Draws a RegNet's widths per block against its quantised line; RegNetX-400MF, but for what you change."""
    # matplotlib takes longer to import than most commands take to run
    from linnaeus.models.plots.figure_file import save_figure
    from linnaeus.models.plots.regnet_widths import plot_widths

    model = regnet_model(depth, w0, wa, wm, group_width, se_ratio)
    with torch.device("meta"):
        network = model.network()
    cost = measure_cost(network, (model.input.channels, model.input.height, model.input.width))
    excitation = "" if se_ratio is None else f", se = {se_ratio:g}"
    title = f"RegNet d = {depth}, w0 = {w0}, wa = {wa:g}, wm = {wm:g}, g = {group_width}{excitation}"
    parameters = RegNetParameters(depth, w0, wa, wm, group_width)
    save_figure(plot_widths(parameters, cost, title), out)
    print(f"{out}: {cost}")
