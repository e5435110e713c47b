"""Looks at one picture with one model: everything that is drawn afterwards."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from linnaeus.models import manifest
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier, normalize
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.visualization.feature_maps import FeatureMap, feature_maps, find_stages
from linnaeus.models.visualization.grad_cam import HeatMap, grad_cam
from linnaeus.models.zoo_model import ModelWeights, ZooModel

_TOP_K = 5


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class with its label and its probability between 0 and 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """What a model made of a picture.

    Attributes:
        model: its name in the zoo.
        weights: where its weights come from, for people.
        trained: whether the guesses mean anything.
        file: the picture's file name.
        picture: the part of the picture that the network saw, at the size at which it saw it.
        predictions: the first five, best first; equal probabilities by lower index.
        stages: one feature map a stage, in the order in which they came.
        explained: the prediction that the heat map is for.
        heat: where the network saw it.
    """

    model: str
    weights: str
    trained: bool
    file: str
    image: Image.Image
    predictions: tuple[Prediction, ...]
    feature_maps: tuple[FeatureMap, ...]
    explained: Prediction
    heat_map: HeatMap


def analyze_image(
    model: ZooModel,
    weights: ModelWeights,
    picture: Path,
    labels: tuple[str, ...] | None = None,
    explain: str | None = None,
) -> ImageAnalysis:
    """Shows the picture to the model.

    Args:
        model: the model.
        weights: its weights.
        picture: a picture file.
        labels: one for each class of the weights, if not the model's own.
        explain: label or index of the class that the heat map is for; the best prediction if not given.

    Raises:
        OSError: the file is not there or no picture.
        ValueError: there is no such class, or no feature map to explain it by.
    """
    names = labels or model.labels()
    classifier = eager_classifier(model, weights, len(names))
    image = load_image(picture, model.input)
    pixels = to_pixels(image)
    predictions = _predict(classifier, pixels, names)
    chosen = predictions[0] if explain is None else _find_class(predictions, names, explain)
    images = normalize(pixels, model.mean, model.std)
    stages = find_stages(classifier.backbone, images)
    heat_map = grad_cam(classifier, pixels, stages, chosen.index)
    return ImageAnalysis(
        model=model.name,
        weights=weights.source if weights.seed is None else f"{weights.source}, seed {weights.seed}",
        trained=manifest.Weights(weights.source, weights.seed).trained,
        file=picture.name,
        image=image,
        predictions=predictions[:_TOP_K],
        feature_maps=feature_maps(classifier.backbone, images, stages),
        explained=chosen,
        heat_map=heat_map,
    )


def _predict(classifier: PixelClassifier, pixels: Tensor, labels: tuple[str, ...]) -> tuple[Prediction, ...]:
    """Every class, best first."""
    with torch.inference_mode():
        ranked = classifier(pixels)[0].sort(descending=True, stable=True)
    places, values = ranked.indices.tolist(), ranked.values.tolist()
    return tuple(Prediction(place, labels[place], value) for place, value in zip(places, values, strict=True))


def _find_class(predictions: tuple[Prediction, ...], labels: tuple[str, ...], wanted: str) -> Prediction:
    # Labels come first: the digits' labels are numbers themselves.
    if wanted in labels:
        index = labels.index(wanted)
    elif wanted.isdecimal() and int(wanted) < len(labels):
        index = int(wanted)
    else:
        raise ValueError(f"there is no class {wanted!r}; give one of the {len(labels)} labels, or an index from 0 on")
    return next(prediction for prediction in predictions if prediction.index == index)
