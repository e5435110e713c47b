"""Runs one model on one image and collects all that is drawn: predictions, feature maps and heat map."""

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
    """A class, its label, and its probability between 0 and 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """All that is drawn of one model and one image.

    Attributes:
        model: the model's name in the zoo.
        weights: source of the weights, for display.
        trained: whether the weights are trained; otherwise the predictions are meaningless.
        file: name of the image file.
        image: the image as the network sees it, resized and cropped.
        predictions: the five most probable classes, best first; equal probabilities are ordered by index.
        feature_maps: one per stage, in the order in which they are computed.
        explained: the class that the heat map explains.
        heat_map: the heat map of that class.
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
    path: Path,
    labels: tuple[str, ...] | None = None,
    explain: str | None = None,
) -> ImageAnalysis:
    """Runs the model on an image file.

    Args:
        model: the model.
        weights: its weights.
        path: the image file.
        labels: one label per class of the weights; the model's own if None.
        explain: label or index of the class that the heat map explains; the most probable class if None.

    Raises:
        OSError: if the file does not exist or is not an image.
        ValueError: if there is no such class, or no feature map to compute the heat map from.
    """
    names = labels or model.labels()
    classifier = eager_classifier(model, weights, len(names))
    image = load_image(path, model.input)
    pixels = to_pixels(image)
    predictions = _predict(classifier, pixels, names)
    explained = predictions[0] if explain is None else _find_class(predictions, names, explain)
    images = normalize(pixels, model.mean, model.std)
    stages = find_stages(classifier.backbone, images)
    heat_map = grad_cam(classifier, pixels, stages, explained.index)
    return ImageAnalysis(
        model=model.name,
        weights=weights.source if weights.seed is None else f"{weights.source}, seed {weights.seed}",
        trained=manifest.Weights(weights.source, weights.seed).trained,
        file=path.name,
        image=image,
        predictions=predictions[:_TOP_K],
        feature_maps=feature_maps(classifier.backbone, images, stages),
        explained=explained,
        heat_map=heat_map,
    )


def _predict(classifier: PixelClassifier, pixels: Tensor, labels: tuple[str, ...]) -> tuple[Prediction, ...]:
    """Returns all classes, the most probable first."""
    with torch.inference_mode():
        ranked = classifier(pixels)[0].sort(descending=True, stable=True)
    indices, probabilities = ranked.indices.tolist(), ranked.values.tolist()
    return tuple(Prediction(index, labels[index], value) for index, value in zip(indices, probabilities, strict=True))


def _find_class(predictions: tuple[Prediction, ...], labels: tuple[str, ...], wanted: str) -> Prediction:
    # A label takes precedence over an index: the labels of digits are numbers.
    if wanted in labels:
        index = labels.index(wanted)
    elif wanted.isdecimal() and int(wanted) < len(labels):
        index = int(wanted)
    else:
        raise ValueError(f"there is no class {wanted!r}; give one of the {len(labels)} labels, or an index from 0 on")
    return next(prediction for prediction in predictions if prediction.index == index)
