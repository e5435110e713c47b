// What two scrapes of the metrics say of the time between them.

import { increasesBy, sumsBy } from "./prometheus.js";

const QUANTILES = { p50: 0.5, p90: 0.9, p99: 0.99 };

// Returns the figures of the seconds between two scrapes. What nothing was measured of is null.
export function figuresOf(before, after, seconds) {
  const total = (name) => increasesBy(before, after, name).get("") ?? 0;
  const runs = total("linnaeus_batch_size_count");
  return {
    answered: total("linnaeus_request_seconds_count") / seconds,
    refused: total("linnaeus_rejected_total") / seconds,
    latency: latencyOf(increasesBy(before, after, "linnaeus_request_seconds_bucket", "le")),
    batchSize: runs ? total("linnaeus_batch_size_sum") / runs : null,
    queue: sumsBy(after, "linnaeus_queue_depth").get("") ?? 0,
    devices: devicesOf(before, after, seconds),
  };
}

// Images without an answer since the server started, by reason, most first.
export function refusalsOf(after) {
  const sums = [...sumsBy(after, "linnaeus_rejected_total", "reason")].filter(([, count]) => count > 0);
  return sums.sort((one, other) => other[1] - one[1]);
}

function latencyOf(increases) {
  const buckets = [...increases].map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count]);
  buckets.sort((one, other) => one[0] - other[0]);
  return Object.fromEntries(Object.entries(QUANTILES).map(([name, part]) => [name, quantile(buckets, part)]));
}

// As Prometheus' histogram_quantile: linear within a bucket; the last bound for what is above it. Null: no samples.
export function quantile(buckets, part) {
  const count = buckets.at(-1)?.[1] ?? 0;
  if (!count) return null;
  let [low, below] = [0, 0];
  for (const [bound, upTo] of buckets) {
    const wanted = part * count;
    if (upTo >= wanted) return bound === Infinity ? low : low + ((bound - low) * (wanted - below)) / (upTo - below);
    [low, below] = [bound, upTo];
  }
  return low;
}

function devicesOf(before, after, seconds) {
  const busy = increasesBy(before, after, "linnaeus_device_busy_seconds_total", "device");
  const streams = sumsBy(after, "linnaeus_device_streams", "device");
  const free = sumsBy(after, "linnaeus_device_memory_free_bytes", "device");
  const limit = sumsBy(after, "linnaeus_device_memory_limit_bytes", "device");
  return [...sumsBy(after, "linnaeus_device_ready", "device")].map(([name, ready]) => ({
    name,
    isReady: ready > 0,
    busy: Math.min(1, (busy.get(name) ?? 0) / seconds / (streams.get(name) || 1)),
    streams: streams.get(name) ?? 1,
    memory: limit.has(name) ? { used: limit.get(name) - free.get(name), limit: limit.get(name) } : null,
  }));
}
