"""Captions that several of the drawings share."""

from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.image_analysis import ImageAnalysis


def stage_title(number: int, stage: FeatureMap) -> str:
    """Returns number, name, class and shape of a stage in one line."""
    channels, height, width = stage.values.shape
    return f"{number}  {stage.name}  ({stage.kind})  [{channels}, {height}, {width}]"


def format_probability(probability: float) -> str:
    """Formats a probability as a percentage with one decimal place; "<0.1%" instead of "0.0%"."""
    return f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def heat_map_title(analysis: ImageAnalysis) -> str:
    """Returns the class and the stages of the heat map in one line."""
    stages = " and ".join(analysis.heat_map.stages)
    if not analysis.heat_map.values.any():
        return f"Grad-CAM: nothing in {stages} speaks for {analysis.explained.label}"
    return f"Grad-CAM for {analysis.explained.label}, from {stages}"
