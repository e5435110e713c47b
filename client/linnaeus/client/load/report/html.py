"""The HTML of reports: the style sheet and the elements of a self-contained page.

All arguments are text, which is escaped here, except plots and elements that this module returned.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from linnaeus.client.load.report.svg_plots import SvgPlot

# The colours of the outcomes are Okabe and Ito's, which are colour-blind safe; lighter ones for the dark mode.
_STYLE = """
:root { color-scheme: light dark; --font: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  --paper: #f6f7f9; --card: #ffffff; --ink: #1d2430; --soft: #5b6472; --grid: #dfe3e9; --shade: #d5dae2;
  --ok: #009e73; --late: #e69f00; --refused: #56b4e9; --failed: #c0392b;
  --median: #0072b2; --tail: #cc79a7; --worst: #d55e00; --mark: #009e73; --warn: #fdf0d5; --edge: #8d97a5; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161c; --card: #1a2029; --ink: #e6e9ee; --soft: #9aa4b2; --grid: #313945; --shade: #3a4350;
  --ok: #2cc295; --late: #f0b429; --refused: #7cc7f2; --failed: #f0705e;
  --median: #58b0ea; --tail: #e39ac4; --worst: #ff8b45; --mark: #2cc295; --warn: #4a3b12; --edge: #76839a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 var(--font); }
h1 { font-size: 1.5rem; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
@media (max-width: 30rem) { body { padding: .7rem; } th, td { padding: .28rem .4rem; } }
.warn { background: var(--warn); border-left: 4px solid var(--late); padding: .6rem .9rem; max-width: none;
  font-weight: 700; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.2rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tiles div, figure, .card { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; }
.tiles div { padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: .9rem; }
figure { margin: 0; padding: .5rem; }
svg { display: block; width: 100%; height: auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1.2rem;
  align-items: start; }
.card { overflow-x: auto; margin-bottom: .9rem; }
/* A shadow at an edge beyond which a table goes on: the covers scroll with it, the shadows stay. */
.card:has(.dense) { background:
  linear-gradient(to right, var(--card) 40%, transparent) left / 2.4rem 100%,
  linear-gradient(to left, var(--card) 40%, transparent) right / 2.4rem 100%,
  linear-gradient(to right, var(--edge), transparent) left / .9rem 100%,
  linear-gradient(to left, var(--edge), transparent) right / .9rem 100%, var(--card);
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll, scroll; }
.scrolls { display: none; }
@media (max-width: 60rem) { .scrolls { display: block; } }
.dense { font-size: .84rem; } .dense th, .dense td { padding: .28rem .45rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--grid); }
tr:first-child > * { border-top: 0; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6.5rem; }
.words td + td { white-space: normal; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
tr.marked { background: color-mix(in srgb, var(--mark) 18%, transparent); font-weight: 600; }
"""


def document(title: str, body: Iterable[str]) -> str:
    """Returns the whole page.

    Args:
        title: the title of the page and its first heading.
        body: elements that the other functions returned.
    """
    elements = "\n".join(element for element in body if element)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{elements}\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """Returns the heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """Returns a paragraph, or nothing for an empty text; kind is `soft`, `warn` or empty."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""


def tiles(values: Mapping[str, str]) -> str:
    """Returns large values with their names below them."""
    each = (
        f'<div><b>{escape(value)}</b><span class="soft">{escape(name)}</span></div>' for name, value in values.items()
    )
    return f'<div class="tiles">{"".join(each)}</div>'


def plots(svg_plots: Iterable[SvgPlot]) -> str:
    """Returns plots, side by side if the page is wide enough."""
    return f'<div class="plots">{"".join(f"<figure>{plot.svg}</figure>" for plot in svg_plots)}</div>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], marked: Sequence[bool] = (), kind: str = "") -> str:
    """Returns a table, which scrolls by itself on a narrow page.

    Args:
        headings: of the columns; empty for no headings.
        rows: the cells of each row.
        marked: which rows are highlighted; empty for none.
        kind: `words` for texts instead of numbers, `dense` for many columns; where these do not fit, a line says that
            the table scrolls.
    """
    top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in headings)}</tr>" if headings else ""
    body = "".join(
        f"<tr{_row_class(marked, index)}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for index, row in enumerate(rows)
    )
    hint = '<p class="soft scrolls">The table scrolls sideways →</p>' if kind == "dense" else ""
    return f'{hint}<div class="card"><table class="{kind}">{top}{body}</table></div>'


def columns(elements: Iterable[str]) -> str:
    """Returns elements side by side if the page is wide enough."""
    return f'<div class="columns">{"".join(f"<div>{element}</div>" for element in elements)}</div>'


def _row_class(marked: Sequence[bool], index: int) -> str:
    return ' class="marked"' if index < len(marked) and marked[index] else ""
