"""The HTML page: self-contained, deterministic, with a plot for everything that has data."""

import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from linnaeus.client.load.report.latency_plots import draw_batch_sizes
from linnaeus.client.load.report.run_page import run_page

VOID = {"meta", "link", "br", "img", "input", "hr"}
SVG = "{http://www.w3.org/2000/svg}"


class Reader(HTMLParser):
    """Collects the elements of a page, and detects elements that were not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href"):
                self.links.append(value)
            elif name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


@pytest.fixture(scope="module")
def ramp(make_measurement, make_run):
    steps = (
        make_measurement(rate=100.0),
        make_measurement(rate=200.0, late=10),
        make_measurement(rate=300.0, refused=500),
    )
    return make_run(*steps, knee=200.0)


@pytest.fixture(scope="module")
def ramp_page(ramp):
    """The page of the ramp, whose plots take a second."""
    return run_page(ramp)


@pytest.fixture(scope="module")
def single_page(make_measurement, make_run):
    """The page of one measurement."""
    return run_page(make_run(make_measurement()))


def plots_of(text):
    parts = text.split("<svg")[1:]
    return [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in parts]


def titles(text):
    return [plot.get("aria-label") for plot in plots_of(text)]


def texts_of(plot):
    return [element.text for element in plot.iter(f"{SVG}text")]


MEASUREMENT_PLOTS = ["Latency distribution", "Latency over time", "Throughput over time", "Batch sizes on the server"]


def test_a_measurement_has_four_plots(single_page):
    assert titles(single_page) == MEASUREMENT_PLOTS


def test_a_ramp_has_plots_against_the_offered_rate_too(ramp_page):
    assert titles(ramp_page) == ["Throughput against offered rate", "p99 against offered rate", *MEASUREMENT_PLOTS]
    for plot in plots_of(ramp_page)[:2]:
        assert {"knee 200/s", "calls/s offered"} <= set(texts_of(plot))


def test_the_page_is_self_contained(ramp_page):
    reader = Reader(ramp_page)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.open == []
    assert "url(http" not in ramp_page and "@import" not in ramp_page


def test_the_same_run_gives_the_same_page(ramp, ramp_page):
    assert run_page(ramp) == ramp_page


def test_plots_take_their_colours_from_the_page(ramp_page):
    """A fixed colour would be illegible in light or in dark mode."""
    plots = plots_of(ramp_page)
    assert len(plots) > 3
    for plot in plots:
        styles = " ".join(element.get("style") or "" for element in plot.iter())
        assert "var(--ink)" in styles
        assert "#" not in styles.replace("url(#", "")


def test_the_percentile_axis_shows_the_tail(single_page):
    distribution = plots_of(single_page)[0]
    assert {"50", "90", "95", "99", "99.9", "percentile of the answered calls"} <= set(texts_of(distribution))


def test_outcomes_have_a_legend_where_they_occur(make_measurement, make_run):
    words = texts_of(plots_of(run_page(make_run(make_measurement(late=20))))[2])
    assert {"warm-up", "ok", "late", "sent"} <= set(words)
    assert not {"refused", "failed"} & set(words)


BOUNDS = [*(str(2**power) for power in range(11)), "+Inf"]


@pytest.mark.parametrize("used", [BOUNDS, BOUNDS[:3], ["64"], BOUNDS[4:10], BOUNDS[5:12]])
def test_batch_sizes_that_did_not_occur_have_no_bar_and_no_names_overlap(used):
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.subplots()
    with rc_context({"font.size": 9}):
        draw_batch_sizes({bound: 7 * (bound in used) for bound in BOUNDS}, axes)
        figure.draw_without_rendering()
    assert len(axes.patches) == len(used)
    names = axes.get_xticklabels()
    slanted = {name.get_rotation() for name in names} == {45.0}
    boxes = [name.get_window_extent() for name in names]
    # Slanted names are as far apart as their lines are high, though their boxes overlap.
    gaps = [(right.x0 + right.x1 - left.x0 - left.x1) / 2 if slanted else right.x0 - left.x1
            for left, right in pairwise(boxes)]  # fmt: skip
    assert all(gap > (1.4 * names[0].get_fontsize() * figure.dpi / 72 if slanted else 2) for gap in gaps)


def test_a_table_that_is_too_wide_for_a_phone_says_that_it_scrolls(ramp_page, single_page):
    assert ramp_page.count('class="soft scrolls"') == 1
    assert 'class="soft scrolls"' not in single_page


def test_a_warning_is_highlighted_if_the_load_tester_was_the_bottleneck(make_measurement, make_run, single_page):
    text = run_page(make_run(make_measurement(limit="it was busy 99 % of the time")))
    assert '<p class="warn">The tester was the limit: it was busy 99 % of the time</p>' in text
    assert '<p class="warn">' not in single_page


@pytest.mark.parametrize(("rate", "promise"), [(200.0, "was meant to be sent"), (None, "wait for the server")])
def test_the_page_says_how_latency_is_measured(make_measurement, make_run, rate, promise):
    assert promise in run_page(make_run(make_measurement(rate=rate)))


def test_names_and_notes_are_escaped(make_measurement, make_run):
    text = run_page(make_run(make_measurement(), options={"model": "<script>x</script>"}, notes=("<b>&",)))
    assert "<script" not in text
    assert "&lt;b&gt;&amp;" in text


@pytest.mark.parametrize("milliseconds", [(), (0.0,), (5.0, 9000.0)])
@pytest.mark.parametrize("kind", ["single", "ramp"])
def test_a_run_with_few_answers_has_a_page(make_measurement, make_run, milliseconds, kind):
    text = run_page(make_run(make_measurement(milliseconds=milliseconds, server=False, failed=20), kind=kind))
    assert ("Latency distribution" in titles(text)) == bool(milliseconds)


def test_a_run_without_a_measurement_has_a_page(make_run):
    assert "Nothing was measured." in run_page(make_run(kind="single"))


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.needs(program="chromium")
def test_a_browser_shows_all_of_it_without_scrolling_sideways(ramp_page, tmp_path, width):
    probe = (
        "<script>document.title = document.documentElement.scrollWidth <= window.innerWidth"
        " && [...document.querySelectorAll('svg')].every(each => each.getBoundingClientRect().height > 150)"
        " ? 'FITS' : 'TOO WIDE'</script>"
    )
    inner = tmp_path / "page.html"
    inner.write_text(ramp_page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    outer = tmp_path / "outer.html"
    # A window of Chromium is at least 500 pixels wide.
    outer.write_text(
        f'<iframe src="page.html" width="{width}" height="900" onload="'
        'document.body.append(this.contentDocument.title)"></iframe>'
    )
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
    arguments += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", outer.as_uri()]
    shown = subprocess.run(["chromium", *arguments], capture_output=True, text=True, timeout=100, check=True)
    assert "FITS" in shown.stdout
