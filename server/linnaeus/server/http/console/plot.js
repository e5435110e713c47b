// A line plot of the last minutes: one axis from 0, one line for each series, gaps where nothing was measured.

import { element, setText, svgElement } from "./dom.js";

const POINTS = 90;
const [WIDTH, HEIGHT] = [300, 72];

// A plot with its title, its present value and its lines. `format` makes a value's text.
export class Plot {
  constructor(title, series, format) {
    this.series = series.map((name) => ({ name, values: [] }));
    this.format = format;
    this.title = title;
    this.lines = series.map((_, place) => svgElement("path", { class: `line line-${place}` }));
    this.area = svgElement("path", { class: "area" });
    this.picture = svgElement(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      ...[0, 0.5, 1].map((part) => gridLine(HEIGHT * part)),
      this.area,
      ...this.lines,
    );
    this.most = element("span", { class: "plot-most", "aria-hidden": "true" });
    this.values = series.map(() => element("span", { class: "plot-value" }, "–"));
    this.element = element(
      "section",
      { class: "plot" },
      element("h3", {}, title),
      element("p", { class: `plot-values of-${series.length}` }, this.#legends(series)),
      element("div", { class: "plot-frame" }, this.picture, this.most),
    );
  }

  // Adds the next point: a value for each series, null where nothing was measured.
  push(values) {
    for (const [place, { values: kept }] of this.series.entries()) {
      kept.push(values[place]);
      if (kept.length > POINTS) kept.shift();
      setText(this.values[place], values[place] === null ? "–" : this.format(values[place]));
    }
    this.#draw();
  }

  #legends(series) {
    return series.map((name, place) => this.#legend(name, place, series.length));
  }

  #legend(name, place, count) {
    const swatch = count > 1 ? element("span", { class: `swatch line-${place}`, "aria-hidden": "true" }) : null;
    const caption = name ? element("small", {}, name) : null;
    return element("span", { class: "plot-legend" }, swatch, this.values[place], caption);
  }

  #draw() {
    const top = roundUp(Math.max(...this.series.flatMap(({ values }) => values.map((each) => each ?? 0))));
    for (const [place, { values }] of this.series.entries()) this.lines[place].setAttribute("d", lineOf(values, top));
    this.area.setAttribute("d", areaOf(this.series[0].values, top));
    setText(this.most, top ? this.format(top) : "");
    const now = this.series.map(({ name }, place) => `${name} ${this.values[place].textContent}`.trim()).join(", ");
    this.picture.setAttribute("aria-label", `${this.title}, the last three minutes. Now: ${now}.`);
  }
}

function gridLine(y) {
  return svgElement("line", { class: "grid-line", x1: 0, x2: WIDTH, y1: y, y2: y });
}

// The least of 1, 2 and 5 times a power of ten that is not below a value.
function roundUp(value) {
  if (!(value > 0)) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999) ?? 10 * power;
}

const xOf = (place, count) => (WIDTH * (POINTS - count + place)) / (POINTS - 1);
const yOf = (value, top) => HEIGHT - 1 - ((HEIGHT - 3) * value) / (top || 1);

function pieces(values) {
  const found = [];
  for (const [place, value] of values.entries()) {
    if (value === null) continue;
    if (place === 0 || values[place - 1] === null) found.push([]);
    found.at(-1).push([place, value]);
  }
  return found;
}

function lineOf(values, top) {
  const at = ([place, value]) => `${xOf(place, values.length).toFixed(1)} ${yOf(value, top).toFixed(1)}`;
  return pieces(values).map((piece) => `M${piece.map(at).join("L")}${piece.length === 1 ? "h0.1" : ""}`).join("");
}

function areaOf(values, top) {
  const at = ([place, value]) => `${xOf(place, values.length).toFixed(1)} ${yOf(value, top).toFixed(1)}`;
  const x = ([place]) => xOf(place, values.length).toFixed(1);
  return pieces(values)
    .map((piece) => `M${x(piece[0])} ${HEIGHT}L${piece.map(at).join("L")}L${x(piece.at(-1))} ${HEIGHT}Z`)
    .join("");
}
