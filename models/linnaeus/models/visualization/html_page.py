"""Renders one self-contained HTML page: no script, and no external style sheet or image."""

import base64
import html
import io

from PIL import Image

from linnaeus.models.visualization.captions import format_probability, heat_map_title, stage_title
from linnaeus.models.visualization.colormap import value_range
from linnaeus.models.visualization.feature_map_grid import draw_feature_map_grid
from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.heat_map import draw_heat_map, enlarge
from linnaeus.models.visualization.image_analysis import ImageAnalysis, Prediction

# System colors follow the browser's light or dark mode.
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; background: Canvas; color: CanvasText; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere; }
.seen { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1.5rem 0; }
figure { margin: 0; }
.seen figure { width: min(20rem, 100%); }
.seen img { width: 100%; border-radius: .25rem; }
figcaption, .note { opacity: .75; font-size: .85rem; }
.guesses { flex: 1 1 16rem; list-style: none; margin: 0; padding: 0; }
.guesses li { margin-bottom: .9rem; }
.guesses span { display: flex; justify-content: space-between; gap: 1rem; }
.bar { height: .75rem; background: color-mix(in srgb, CanvasText 10%, Canvas); }
.bar div { height: 100%; min-width: 2px; background: #2a8f96; }
.untrained { font-weight: 600; border-left: .3rem solid #c2571a; padding-left: .75rem; }
.grid { max-width: 100%; height: auto; }
"""


def render_page(analysis: ImageAnalysis) -> str:
    """Returns the page as HTML."""
    title = html.escape(f"{analysis.model} looks at {analysis.file}")
    count = len(analysis.feature_maps)
    stages = "\n".join(_stage(number, stage) for number, stage in enumerate(analysis.feature_maps, 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{_weights(analysis)}
<div class="seen">
{_figure(enlarge(analysis.image), f"{analysis.file}, as the network sees it")}
{_figure(draw_heat_map(analysis), heat_map_title(analysis))}
<ol class="guesses">
{"".join(_prediction(prediction) for prediction in analysis.predictions)}</ol>
</div>
<p class="note">{count} stages. Every tile is one channel, in order, row by row; within a stage all share
one colour scale, from dark (low) to bright (high).</p>
{stages}
</body>
</html>
"""


def _weights(analysis: ImageAnalysis) -> str:
    source = html.escape(analysis.weights)
    if analysis.trained:
        return f'<p class="note">Weights: {source}</p>'
    return f'<p class="untrained">Untrained ({source}): the guesses mean nothing.</p>'


def _prediction(prediction: Prediction) -> str:
    label, share = html.escape(prediction.label), html.escape(format_probability(prediction.probability))
    bar = f'<div class="bar"><div style="width: {prediction.probability:.3%}"></div></div>'
    return f"<li><span><b>{label}</b> {share}</span>{bar}</li>\n"


def _stage(number: int, stage: FeatureMap) -> str:
    low, high = value_range(stage.values)
    caption = f"{low:.3g} to {high:.3g} (1st to 99th percentile)"
    grid = (
        f'<img class="grid" loading="lazy" src="{_data_uri(draw_feature_map_grid(stage.values))}" alt="feature maps">'
    )
    title = html.escape(stage_title(number, stage))
    return f"<section>\n<h2>{title}</h2>\n<figure>{grid}<figcaption>{caption}</figcaption></figure>\n</section>"


def _figure(image: Image.Image, caption: str) -> str:
    text = html.escape(caption)
    return f'<figure><img src="{_data_uri(image)}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
