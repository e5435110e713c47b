"""Captions of what is drawn."""

from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.image_analysis import ImageAnalysis


def stage_title(number: int, stage: FeatureMap) -> str:
    """One line that names a stage and its shape."""
    channels, height, width = stage.values.shape
    return f"{number}  {stage.name}  ({stage.kind})  [{channels}, {height}, {width}]"


def format_probability(probability: float) -> str:
    """A probability to a tenth of a percent; what would round to nothing says so."""
    return f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def heat_map_title(analysis: ImageAnalysis) -> str:
    """What the heat map shows, in one line."""
    stages = " and ".join(analysis.heat_map.stages)
    if not analysis.heat_map.values.any():
        return f"Grad-CAM: nothing in {stages} speaks for {analysis.explained.label}"
    return f"Grad-CAM for {analysis.explained.label}, from {stages}"
