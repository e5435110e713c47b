"""Renders matplotlib figures as SVG with the colours of the page, so that they are legible in light and dark mode.

Holds the style that all plots share. matplotlib is imported with the first plot, because the import takes longer than
most commands.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Each name is a CSS variable of the page. matplotlib needs a real colour for each: a placeholder, which is replaced in
# the SVG. The placeholders are so close to black that no plot uses one as a colour.
_NAMES = ("ink", "grid", "ok", "late", "refused", "failed", "median", "tail", "worst", "shade", "mark")
_PLACEHOLDERS = {name: f"#0000{index:02x}" for index, name in enumerate(_NAMES, start=1)}
# Small, so that the text is legible on a phone; a wide screen enlarges it.
_SIZE_INCHES = (5.0, 3.2)


@dataclass(frozen=True, slots=True)
class SvgPlot:
    """One plot.

    Attributes:
        title: what it shows.
        svg: an `<svg>` element for an HTML page that defines the colours as CSS variables.
    """

    title: str
    svg: str


def colour(name: str) -> str:
    """Returns the placeholder for a CSS variable of the page."""
    return _PLACEHOLDERS[name]


def render_plot(name: str, title: str, draw: Callable[["Axes"], None]) -> SvgPlot:
    """Renders one plot; its legend is below it and covers nothing.

    Args:
        name: unique on the page, because the ids in the SVG derive from it. The output depends on name and data only.
        title: shown above the plot.
        draw: draws into the axes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style() | {"svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left", fontweight="bold")
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower left", ncols=6)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return SvgPlot(title, _for_page(written.getvalue(), title))


def _style() -> dict[Any, Any]:
    ink = colour("ink")
    return {
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.titlesize": 10,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": colour("grid"),
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "legend.borderpad": 0,
        "legend.columnspacing": 1.2,
        "legend.handlelength": 1.4,
    }


def _for_page(svg: str, title: str) -> str:
    """Returns the `<svg>` element alone, with the width of its container and the colours and fonts of the page."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    element = re.sub(r"font: ([a-z0-9 ]*?)([\d.]+px) [^;\"]*", r"font: \1\2 var(--font)", element)
    for name, placeholder in _PLACEHOLDERS.items():
        element = element.replace(placeholder, f"var(--{name})")
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
