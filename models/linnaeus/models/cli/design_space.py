"""`linnaeus-zoo design-space`: samples, trains and compares the networks of design spaces."""

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from linnaeus.models.design_space.spaces import Space
from linnaeus.models.output_folder import make_folder

if TYPE_CHECKING:
    from linnaeus.models.design_space.evaluation import SampledNetwork, TrainingRegime
    from linnaeus.models.training import Digits


def design_space(
    space: Annotated[list[Space], typer.Option(help="Repeat it to compare spaces.", case_sensitive=False)],
    samples: Annotated[int, typer.Option(min=1, help="Networks of each space.")] = 8,
    data: Annotated[Path, typer.Option(help="Folder of MNIST; downloaded there if it is not.")] = Path("datasets"),
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    images: Annotated[int, typer.Option(min=2, help="To train each network with, and to test it with.")] = 5000,
    seed: Annotated[int, typer.Option(help="Of what is drawn, of the weights and of the images' order.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for samples.json and errors.png.")] = Path("runs/design-space"),
) -> None:
    """Trains small networks of a design space briefly on MNIST and draws the distribution of their errors."""
    # Imported here, so that help and wrong usage do not wait seconds for torch and matplotlib.
    from linnaeus.models.design_space.evaluation import TrainingRegime, results_as_json
    from linnaeus.models.plots.error_distributions import plot_error_distributions
    from linnaeus.models.plots.figure_file import save_figure
    from linnaeus.models.training.datasets import load_mnist

    regime = TrainingRegime(epochs, images, seed)
    training, test = load_mnist(data, train=True), load_mnist(data, train=False)
    results = {each: _sample_and_evaluate(each, samples, training, test, regime) for each in dict.fromkeys(space)}
    make_folder(out)
    (out / "samples.json").write_text(json.dumps(results_as_json(results, regime), indent=1) + "\n", encoding="utf-8")
    title = f"Small networks after {epochs} epoch{'s' * (epochs > 1)} with {images:,} digits"
    save_figure(plot_error_distributions(results, title), out / "errors.png")
    print(f"{out / 'samples.json'}, {out / 'errors.png'}")


def _sample_and_evaluate(
    space: Space, number: int, training: "Digits", test: "Digits", regime: "TrainingRegime"
) -> "list[SampledNetwork]":
    from linnaeus.models.design_space.evaluation import train_and_evaluate
    from linnaeus.models.design_space.sampling import sample_stages

    random = Random(regime.seed)
    results = []
    for index in range(1, number + 1):
        results.append(train_and_evaluate(sample_stages(space, random), training, test, regime))
        print(f"{space.value} {index}/{number}: error {results[-1].error:.1%}, {results[-1].cost}", flush=True)
    return results
