"""Downloads torchvision's weights into the cache of torch.hub."""

import contextlib
import dataclasses
import sys
from pathlib import Path
from urllib.error import URLError

import torch
from torch.hub import get_dir
from torchvision.models import WeightsEnum

from linnaeus.models.manifest import InputSpec
from linnaeus.models.weights.state_dict_conversion import convert_state_dict
from linnaeus.models.zoo_model import ModelWeights, ZooModel


def download_weights(
    model: ZooModel, classes: int | None = None, progress: bool = True
) -> tuple[ZooModel, ModelWeights]:
    """Downloads torchvision's weights with a progress bar, or takes them from the cache.

    Args:
        model: the model whose weights to download.
        classes: number of classes; the model's own if None.
        progress: whether to draw the progress bar on stderr.

    Returns:
        The model with the input that these weights were trained for, and the weights.

    Raises:
        ValueError: if torchvision has no weights for the model, or they do not fit.
        OSError: if they cannot be downloaded.
    """
    if model.download is None:
        raise ValueError(
            f"torchvision has no weights to download for {model.name}; say --weights random or --weights FILE"
        )
    published = model.download()
    state = convert_state_dict(
        _download(published, model.name, progress), model, classes or model.classes, str(published)
    )
    return _with_published_input(published, model), ModelWeights(state, f"torchvision {published}")


def _download(published: WeightsEnum, name: str, progress: bool) -> dict[str, torch.Tensor]:
    folder = Path(get_dir()) / "checkpoints"
    try:
        # stdout is for the paths of what is written
        with contextlib.redirect_stdout(sys.stderr):
            state: dict[str, torch.Tensor] = torch.hub.load_state_dict_from_url(
                published.url, model_dir=str(folder), map_location="cpu", progress=progress, weights_only=True
            )
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise OSError(
            f"the weights of {name} cannot be downloaded from {published.url} ({reason}); "
            f"put the file there by hand and say --weights FILE, or say --weights random"
        ) from error
    return state


def _with_published_input(published: WeightsEnum, model: ZooModel) -> ZooModel:
    """Returns the model with the input of these weights: weights of one network differ in the resizing they need."""
    preset = published.transforms()
    side = preset.crop_size[0]
    spec = InputSpec(model.input.channels, side, side, preset.resize_size[0], preset.interpolation.value)
    return dataclasses.replace(model, input=spec, mean=tuple(preset.mean), std=tuple(preset.std))
