// Reads Prometheus' text format.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

// Returns the samples by name: [{labels, value}, …].
export function parseMetrics(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const found = SAMPLE.exec(line);
    if (!found) continue; // a comment
    const [, name, labels = "", value] = found;
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels: labelsOf(labels), value: numberOf(value) });
  }
  return families;
}

// The sum of a metric by the values of one label; without a label, by "".
export function sumsBy(families, name, label = "") {
  const sums = new Map();
  for (const { labels, value } of families.get(name) ?? []) {
    const key = label ? labels[label] : "";
    sums.set(key, (sums.get(key) ?? 0) + value);
  }
  return sums;
}

// How much each sum of a counter grew between two scrapes; a server that started anew began at 0.
export function increasesBy(before, after, name, label = "") {
  const old = sumsBy(before, name, label);
  return new Map([...sumsBy(after, name, label)].map(([key, value]) => {
    const grown = value - (old.get(key) ?? 0);
    return [key, grown < 0 ? value : grown];
  }));
}

function labelsOf(text) {
  const unescaped = (value) => value.replace(/\\(.)/g, (_, each) => (each === "n" ? "\n" : each));
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, key, value]) => [key, unescaped(value)]));
}

function numberOf(text) {
  return { "+Inf": Infinity, "-Inf": -Infinity }[text] ?? Number(text);
}
