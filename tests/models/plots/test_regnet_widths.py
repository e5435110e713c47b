"""The plot of a RegNet's widths, and the command that writes it."""

from pathlib import Path

import typer
from PIL import Image
from typer.testing import CliRunner

from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.cli.draw_regnet import draw_regnet
from linnaeus.models.inspection.cost import Cost


def test_draw_regnet_draws_every_width_and_says_what_the_network_costs(tmp_path: Path) -> None:
    from linnaeus.models.plots.regnet_widths import plot_widths

    parameters = RegNetParameters(6, 24, 24.0, 2.5, 16)
    lines = {line.get_label(): line for line in plot_widths(parameters, Cost(1, 2, 3), "t").axes[0].get_lines()}
    assert tuple(lines["quantised line"].get_ydata()) == parameters.quantized_widths()
    assert tuple(lines["straight line w0 + wa · j"].get_ydata()) == parameters.linear_widths()
    drawn = [stage.width for stage in parameters.stages() for _ in range(stage.depth)]
    assert list(lines["the network's blocks"].get_ydata()) == drawn != list(parameters.quantized_widths())

    app = typer.Typer()
    app.command()(draw_regnet)
    target = tmp_path / "new" / "x.png"
    arguments = ["--depth", "6", "--wa", "24", "--wm", "2.5", "--se-ratio", "0.25", "--out", str(target)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.output.startswith(f"{target}: ") and "multiply-adds" in result.output
    with Image.open(target) as picture:
        assert picture.format == "PNG" and picture.width > 800
