// Numbers as people read them.

export function percent(probability) {
  return `${(probability * 100).toFixed(1)}\u00a0%`;
}

export function milliseconds(seconds) {
  const value = seconds * 1000;
  if (value >= 999.5) return `${seconds.toFixed(seconds >= 10 ? 1 : 2)} s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

// Three digits: 0.25, 3.14, 31.4, 314, 3.1 k.
export function short(value) {
  if (value === 0) return "0";
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} k`;
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

export function counted(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
