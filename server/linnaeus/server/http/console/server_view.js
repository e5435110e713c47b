// "The server now": live plots from the server's metrics, and the same figures as a table.

import { send } from "./api.js";
import { element, find, setText } from "./dom.js";
import { figuresOf, refusalsOf } from "./figures.js";
import { Plot } from "./plot.js";
import { parseMetrics } from "./prometheus.js";
import { milliseconds, percent, short } from "./words.js";

const SECONDS_BETWEEN = 2;

const perSecond = (value) => `${short(value)}/s`;
const throughput = new Plot("Images a second", ["answered", "refused"], perSecond);
const latency = new Plot("Time in the server", ["p50", "p90", "p99"], milliseconds);
const batchSize = new Plot("Images in a batch", [""], short);
const queue = new Plot("Images waiting or decoding", [""], short);
const plots = [throughput, latency, batchSize, queue];

let last = null; // the last scrape: its time in milliseconds, and its samples
let isSeen = true;

export function startServerView() {
  find("plots").replaceChildren(...plots.map((plot) => plot.element));
  new IntersectionObserver(([entry]) => (isSeen = entry.isIntersecting)).observe(find("server"));
  setInterval(update, SECONDS_BETWEEN * 1000);
  update().then(() => setTimeout(update, 500)); // the first figures need two scrapes
}

async function update() {
  if (document.hidden || !isSeen) return;
  try {
    const response = await send("/console/metrics", { signal: AbortSignal.timeout(10_000) });
    show(performance.now(), parseMetrics(await response.text()));
    setText(find("server-trouble"), "");
  } catch (error) {
    last = null; // a gap in the plots
    setText(find("server-trouble"), `There are no figures now. ${error.message}`);
  }
}

function show(time, samples) {
  const before = last;
  last = { time, samples };
  showRefusals(refusalsOf(samples));
  if (before === null || time <= before.time) return;
  const figures = figuresOf(before.samples, samples, (time - before.time) / 1000);
  throughput.push([figures.answered, figures.refused]);
  latency.push([figures.latency.p50, figures.latency.p90, figures.latency.p99]);
  batchSize.push([figures.batchSize]);
  queue.push([figures.queue]);
  showDevices(figures.devices);
  showTable(figures);
}

function showRefusals(refusals) {
  const most = Math.max(...refusals.map(([, count]) => count));
  const rows = refusals.map(([reason, count]) =>
    meterRow(reason.replaceAll("_", " "), count / most, short(count), "meter-warm"));
  const none = element("li", { class: "muted" }, "None since it started.");
  find("refusals").replaceChildren(...(rows.length ? rows : [none]));
}

function showDevices(devices) {
  find("devices").replaceChildren(...devices.map(({ name, isReady, busy, streams, memory }) => {
    const held = memory ? `, ${short(memory.used)}B of ${short(memory.limit)}B held` : "";
    const side = streams > 1 ? `, ${streams} batches side by side` : "";
    return meterRow(`${name}${side}${held}`, busy, isReady ? `${Math.round(busy * 100)} % busy` : "failed", "");
  }));
}

function meterRow(name, part, value, kind) {
  const fill = element("span", { class: "fill" });
  fill.style.setProperty("--part", String(part));
  return element(
    "li",
    { class: `bar ${kind}` },
    element("span", { class: "bar-label" }, name),
    element("span", { class: "bar-percent" }, value),
    element("span", { class: "track", "aria-hidden": "true" }, fill),
  );
}

function showTable({ answered, refused, latency: times, batchSize: size, queue: waiting, devices }) {
  const orNone = (value, format) => (value === null ? "none" : format(value));
  const rows = [
    ["Images answered a second", short(answered)],
    ["Images refused a second", short(refused)],
    ...Object.entries(times).map(([name, value]) => [`Time in the server, ${name}`, orNone(value, milliseconds)]),
    ["Images in a batch, mean", orNone(size, short)],
    ["Images waiting or decoding", short(waiting)],
    ...devices.map(({ name, isReady, busy }) => [`Device ${name}`, isReady ? `busy ${percent(busy)}` : "failed"]),
  ];
  find("figures").replaceChildren(...rows.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))));
}
