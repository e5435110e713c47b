"""`linnaeus-zoo export`: writes models of the zoo into a model repository, or as ONNX."""

from __future__ import annotations  # types of the zoo, which imports torch, and so is imported late

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnaeus.models.activation import Activation

if TYPE_CHECKING:
    from linnaeus.models.zoo_model import ZooModel


class Format(StrEnum):
    """The format to export."""

    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options that apply to every exported model."""

    repository: Path
    version: int | None
    weights: str | None
    labels: tuple[str, ...] | None
    seed: int
    format: Format
    onnx_folder: Path
    calibration: Path | None
    activation: Activation
    features: bool


def export(
    names: Annotated[list[str] | None, typer.Argument(help="Models of the zoo.", metavar="[NAME]...")] = None,
    whole_zoo: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="bundled|random|DEFAULT|FILE",
            help="Those that come along; random ones; torchvision's, downloaded; or a file (.pth, .pt, .safetensors)."
            " Left out: bundled; with --all, random where none come along.",
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="One label a line, for classes of your own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="For random weights.")] = 0,
    repository: Annotated[
        Path, typer.Option(envvar="LINNAEUS_REPOSITORY", help="Where the version folders go.")
    ] = Path("model-repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: one above the highest there.")] = None,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.TORCHSCRIPT,
    onnx_folder: Annotated[Path, typer.Option(help="Where --format onnx writes NAME.onnx.")] = Path("onnx"),
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures; up to 16 go along, for the server to compare precisions by."),
    ] = None,
    activation: Annotated[
        Activation,
        typer.Option(
            help="What to put after the network: softmax if one label fits a picture, sigmoid if several may, none if "
            "its outputs are probabilities as they are."
        ),
    ] = Activation.SOFTMAX,
    features: Annotated[
        bool,
        typer.Option("--features", help="Let the model give features, too: what its last layer makes the classes of."),
    ] = False,
    depth: Annotated[int | None, typer.Option(help="Of regnet only: blocks in all stages together.")] = None,
    w0: Annotated[int | None, typer.Option(help="Of regnet only: first block's width, a multiple of 8.")] = None,
    wa: Annotated[float | None, typer.Option(help="Of regnet only: slope of the widths.")] = None,
    wm: Annotated[float | None, typer.Option(help="Of regnet only: factor between stages.")] = None,
    group_width: Annotated[int | None, typer.Option(help="Of regnet only: channels in a group.")] = None,
    se_ratio: Annotated[float | None, typer.Option(help="Of regnet only: squeeze-and-excitation's share.")] = None,
) -> None:
    """Writes a version folder (model.pt, manifest.json, labels.txt) for each name."""
    # Imported here and below, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.labels import read_label_file

    models = _select_models(names or [], whole_zoo)
    if any(each is not None for each in (depth, w0, wa, wm, group_width, se_ratio)):
        models = [_regnet(models, depth, w0, wa, wm, group_width, se_ratio)]
    own_labels = read_label_file(labels) if labels else None
    options = ExportOptions(
        repository, version, weights, own_labels, seed, format, onnx_folder, calibration, activation, features
    )
    _check_options(models, options)
    for model in models:
        print(_export(model, options, whole_zoo), flush=True)


def _select_models(names: list[str], whole_zoo: bool) -> list[ZooModel]:
    if bool(names) == whole_zoo:
        raise ValueError("name the models to export, or say --all, but not both")
    from linnaeus.models.registry import ZOO, find

    return list(ZOO.values()) if whole_zoo else [find(name) for name in names]


def _regnet(
    models: list[ZooModel],
    depth: int | None,
    w0: int | None,
    wa: float | None,
    wm: float | None,
    group_width: int | None,
    se_ratio: float | None,
) -> ZooModel:
    """Returns the RegNet with these parameters, by default those of RegNetX-400MF."""
    if [model.name for model in models] != ["regnet"]:
        raise ValueError(
            "--depth, --w0, --wa, --wm, --group-width and --se-ratio shape the model regnet; name it alone"
        )
    from linnaeus.models.zoo_entries.regnet import REGNET_X_400MF, regnet_model

    default = REGNET_X_400MF
    return regnet_model(
        default.depth if depth is None else depth,
        default.initial_width if w0 is None else w0,
        default.slope if wa is None else wa,
        default.width_multiplier if wm is None else wm,
        default.group_width if group_width is None else group_width,
        se_ratio,
    )


def _check_options(models: list[ZooModel], options: ExportOptions) -> None:
    """Checks the options against all models before the first one is exported; raises ValueError or FileExistsError."""
    from linnaeus.models.export.version_folder import require_new_version
    from linnaeus.models.weights.selection import BUNDLED, DEFAULT, FILE, RANDOM

    if options.weights == DEFAULT and (without := [model.name for model in models if model.download is None]):
        raise ValueError(
            f"torchvision has no weights to download for {', '.join(without)}; say --weights random or --weights {FILE}"
        )
    if options.weights == BUNDLED:
        _require_bundled(models)
    if len(models) > 1 and options.weights not in (None, BUNDLED, RANDOM, DEFAULT):
        raise ValueError(f"the file {options.weights} fits one model at most; name one model")
    if options.calibration and options.format is Format.ONNX:
        raise ValueError("--calibration is for the server's version folders; leave it out with --format onnx")
    if options.version is not None and options.format is Format.TORCHSCRIPT:
        for model in models:
            require_new_version(options.repository, model.name, options.version)


def _require_bundled(models: list[ZooModel]) -> None:
    for model in models:
        if model.bundled is None:
            model.bundled_weights()


def _export(model: ZooModel, options: ExportOptions, whole_zoo: bool) -> Path:
    """Exports one model; returns the path written. Its memory is freed on return, as the whole zoo would not fit."""
    from linnaeus.models.export.torchscript import export_torchscript
    from linnaeus.models.export.version_folder import next_version
    from linnaeus.models.weights.selection import BUNDLED, RANDOM, select_weights

    source = options.weights or (RANDOM if whole_zoo and not model.has_installed_weights else BUNDLED)
    classes = len(options.labels) if options.labels else None
    adapted, weights = select_weights(model, source, options.seed, classes)
    if source == RANDOM:
        print(f"linnaeus-zoo: {model.name} is untrained: random weights, seed {options.seed}", file=sys.stderr)
    if options.format is Format.ONNX:
        # imported here, because onnx takes a second to import
        from linnaeus.models.export.onnx import export_onnx

        return export_onnx(
            adapted,
            weights,
            options.onnx_folder / f"{model.name}.onnx",
            options.labels,
            options.activation,
            options.features,
        )
    version = options.version or next_version(options.repository, model.name)
    return export_torchscript(
        adapted,
        weights,
        options.repository,
        version,
        options.labels,
        options.calibration,
        options.activation,
        options.features,
    )
