"""`linnaeus-zoo visualize`: draws feature maps, heat map and predictions of a model for an image."""

from pathlib import Path
from typing import Annotated

import typer


def visualize(
    name: Annotated[str, typer.Argument(help="A model of the zoo.")],
    picture: Annotated[Path, typer.Argument(help="A picture file.")],
    out: Annotated[Path, typer.Option(help="Folder for what is drawn; made if it is not there.")],
    weights: Annotated[str, typer.Option(help="bundled, random, DEFAULT (downloaded) or a file.")] = "bundled",
    seed: Annotated[int, typer.Option(min=0, help="For random weights.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="Your own labels, one a line, for your own weights.")] = None,
    explain: Annotated[
        str | None,
        typer.Option("--class", help="Label or index that the heat map explains; default the best guess."),
    ] = None,
    as_html: Annotated[bool, typer.Option("--html", help="Also write index.html, one page with everything.")] = False,
) -> None:
    """Draws every stage's feature maps, a contact sheet with the five best guesses, and a Grad-CAM heat map."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.labels import read_label_file
    from linnaeus.models.registry import find
    from linnaeus.models.visualization.image_analysis import analyze_image
    from linnaeus.models.visualization.output_files import save_analysis
    from linnaeus.models.weights.selection import select_weights

    names = read_label_file(labels) if labels else None
    model, chosen = select_weights(find(name), weights, seed, len(names) if names else None)
    written = save_analysis(analyze_image(model, chosen, picture, names, explain), out, as_html)
    stages = [path for path in written if path.parent != out]
    print(*(path for path in written if path.parent == out), sep="\n")
    print(f"{stages[0].parent}: {len(stages)} stages")
