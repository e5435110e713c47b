"""The HTML page is complete, self-contained and escaped."""

import re

from linnaeus.models.visualization.html_page import render_page
from linnaeus.models.visualization.image_analysis import ImageAnalysis


def test_the_page_needs_nothing_from_elsewhere(tiny_analysis: ImageAnalysis) -> None:
    text = render_page(tiny_analysis)
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == len(tiny_analysis.feature_maps) + 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    for reference in ("http:", "https:", "//", "url(", "@import", "<script", "<link"):
        assert reference not in re.sub(r'"data:[^"]*"', "", text)


def test_the_page_says_everything_and_escapes_it(tiny_analysis: ImageAnalysis, seven: ImageAnalysis) -> None:
    text = render_page(tiny_analysis)
    assert "a &quot;&lt;&amp;.png" in text and "<&" not in text
    assert "Untrained (random, seed 1)" in text
    assert all(f"{stage.name} " in text for stage in tiny_analysis.feature_maps)
    assert "Untrained" not in render_page(seven) and "MNIST" in render_page(seven)
