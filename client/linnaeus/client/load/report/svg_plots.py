"""Turns a matplotlib figure into SVG that takes its colours from the page, so that it is legible in light and dark.

It owns the look that all plots share; it must not know what is plotted. matplotlib is imported when the first plot is
drawn, since that takes longer than most commands run.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Each name is a CSS variable of the page. matplotlib needs a colour of its own for each; these stand for it in the SVG
# that it writes, and are so close to black that no plot could want one.
_NAMES = ("ink", "grid", "ok", "late", "refused", "failed", "median", "tail", "worst", "shade", "mark")
_STAND_INS = {name: f"#0000{place:02x}" for place, name in enumerate(_NAMES, start=1)}
# Small, so that on a phone's width the letters stay readable; a wide screen enlarges it.
_SIZE_INCHES = (5.0, 3.2)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One plot.

    Attributes:
        title: what it shows, in words.
        svg: an `<svg>` element to stand in an HTML page that defines the colours as CSS variables.
    """

    title: str
    svg: str


def colour(name: str) -> str:
    """The colour to give to matplotlib for the page's variable of this name."""
    return _STAND_INS[name]


def draw(name: str, title: str, paint: Callable[["Axes"], None]) -> Drawing:
    """Draws one plot; the legend stands below it and covers nothing.

    Args:
        name: unique on the page, since the SVG's inner names derive from it; the same name and data give the same SVG.
        title: stands above the plot.
        paint: fills the axes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_look() | {"svg.hashsalt": name}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left", fontweight="bold")
        paint(axes)
        handles, labels = axes.get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower left", ncols=6)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(title, _for_the_page(written.getvalue(), title))


def _look() -> dict[Any, Any]:
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


def _for_the_page(svg: str, title: str) -> str:
    """The element alone, as wide as its place, in the page's colours and fonts."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[^"]*"', "<g", element)
    element = re.sub(r"font: ([a-z0-9 ]*?)([\d.]+px) [^;\"]*", r"font: \1\2 var(--font)", element)
    for name, stand_in in _STAND_INS.items():
        element = element.replace(stand_in, f"var(--{name})")
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
