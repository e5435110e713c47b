"""Looks at one picture with one model: everything that is drawn afterwards."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from linnaeus.models import manifest
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier, normalise
from linnaeus.models.preprocessing import load_picture, to_pixels
from linnaeus.models.visualization.feature_maps import FeatureMap, feature_maps, find_stages
from linnaeus.models.visualization.grad_cam import HeatMap, heat_map
from linnaeus.models.zoo_model import TrainedWeights, ZooModel

_TOP = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """A class with its label and its probability between 0 and 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a model made of a picture.

    Attributes:
        model: its name in the zoo.
        weights: where its weights come from, for people.
        trained: whether the guesses mean anything.
        file: the picture's file name.
        picture: the part of the picture that the network saw, at the size at which it saw it.
        guesses: the first five, best first; equal probabilities by lower index.
        stages: one feature map a stage, in the order in which they came.
        explained: the guess that the heat map is for.
        heat: where the network saw it.
    """

    model: str
    weights: str
    trained: bool
    file: str
    picture: Image.Image
    guesses: tuple[Guess, ...]
    stages: tuple[FeatureMap, ...]
    explained: Guess
    heat: HeatMap


def look(
    model: ZooModel,
    weights: TrainedWeights,
    picture: Path,
    labels: tuple[str, ...] | None = None,
    explain: str | None = None,
) -> Sight:
    """Shows the picture to the model.

    Args:
        model: the model.
        weights: its weights.
        picture: a picture file.
        labels: one for each class of the weights, if not the model's own.
        explain: label or index of the class that the heat map is for; the best guess if not given.

    Raises:
        OSError: the file is not there or no picture.
        ValueError: there is no such class, or no feature map to explain it by.
    """
    names = labels or model.labels()
    classifier = eager_classifier(model, weights, len(names))
    seen = load_picture(picture, model.input)
    pixels = to_pixels(seen)
    guesses = _guesses(classifier, pixels, names)
    chosen = guesses[0] if explain is None else _find(guesses, names, explain)
    images = normalise(pixels, model.mean, model.std)
    stages = find_stages(classifier.backbone, images)
    heat = heat_map(classifier, pixels, stages, chosen.index)
    return Sight(
        model=model.name,
        weights=weights.source if weights.seed is None else f"{weights.source}, seed {weights.seed}",
        trained=manifest.Weights(weights.source, weights.seed).trained,
        file=picture.name,
        picture=seen,
        guesses=guesses[:_TOP],
        stages=feature_maps(classifier.backbone, images, stages),
        explained=chosen,
        heat=heat,
    )


def _guesses(classifier: PixelClassifier, pixels: Tensor, labels: tuple[str, ...]) -> tuple[Guess, ...]:
    """Every class, best first."""
    with torch.inference_mode():
        ranked = classifier(pixels)[0].sort(descending=True, stable=True)
    places, values = ranked.indices.tolist(), ranked.values.tolist()
    return tuple(Guess(place, labels[place], value) for place, value in zip(places, values, strict=True))


def _find(guesses: tuple[Guess, ...], labels: tuple[str, ...], wanted: str) -> Guess:
    # Labels come first: the digits' labels are numbers themselves.
    if wanted in labels:
        index = labels.index(wanted)
    elif wanted.isdecimal() and int(wanted) < len(labels):
        index = int(wanted)
    else:
        raise ValueError(f"there is no class {wanted!r}; give one of the {len(labels)} labels, or an index from 0 on")
    return next(guess for guess in guesses if guess.index == index)
