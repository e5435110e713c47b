// Classifies files in as few requests as the server's limits allow, a few requests at a time.

import { pause, request } from "./api.js";
import { groupsOf, Limiter } from "./groups.js";

const MULTIPART_BYTES = 512; // around each file, with its name

const limiter = new Limiter(3);

// Where a model or a version of it answers. An empty version is the default one.
export function pathOf({ model, version }) {
  const place = version ? `/versions/${encodeURIComponent(version)}` : "";
  return `/v1/models/${encodeURIComponent(model)}${place}`;
}

// Classifies files, and tells `report(index, result)` each result as it comes. A result has `classes`, `batchSize`,
// `timings`, `model`, `version` and `totalSeconds`, or `error`, a sentence.
//
// Options: limits (the server's), groupSize (files in a request), topK, minProbability, priority, timeoutSeconds.
export async function classifyFiles(files, target, options, report) {
  const groups = groupsOf(
    files.map((file) => file.size + MULTIPART_BYTES),
    Math.min(options.groupSize, options.limits.max_batch_images || 1),
    options.limits.max_message_bytes,
  );
  await Promise.all(groups.map((group) => limiter.run(() => classifyGroup(files, group, target, options, report))));
}

async function classifyGroup(files, group, target, options, report) {
  const first = await sendGroup(files, group, target, options);
  const refused = first.filter(({ result }) => result.retryAfterSeconds <= 30);
  for (const { index, result } of first) if (!refused.some((each) => each.index === index)) report(index, result);
  if (!refused.length) return;
  await pause(Math.max(...refused.map(({ result }) => result.retryAfterSeconds)));
  const again = await sendGroup(files, refused.map(({ index }) => index), target, options);
  for (const { index, result } of again) report(index, result);
}

// Sends one request and returns a result for each of its files.
async function sendGroup(files, group, target, options) {
  const limit = options.limits.max_message_bytes;
  if (group.length === 1 && files[group[0]].size + MULTIPART_BYTES > limit) {
    return [{ index: group[0], result: { error: tooLarge(files[group[0]].size, limit) } }];
  }
  const form = new FormData();
  for (const index of group) form.append("image", files[index]);
  const begin = performance.now();
  try {
    const response = await request(`${pathOf(target)}:classify?${queryOf(options)}`, {
      method: "POST",
      body: form,
      headers: options.timeoutSeconds ? { "X-Timeout-Seconds": String(options.timeoutSeconds) } : {},
    });
    const answer = await response.json();
    const totalSeconds = (performance.now() - begin) / 1000;
    return group.map((index, place) => ({ index, result: resultOf(answer, answer.results[place], totalSeconds) }));
  } catch (error) {
    return group.map((index) => ({ index, result: { error: error.message, status: error.status } }));
  }
}

function queryOf({ topK, minProbability, priority }) {
  const query = new URLSearchParams();
  if (topK) query.set("top_k", String(topK));
  if (minProbability) query.set("min_probability", String(minProbability));
  if (priority) query.set("priority", priority);
  return query;
}

function resultOf({ model, version }, each, totalSeconds) {
  if (each.error) return { error: each.error.message, retryAfterSeconds: retryDelay(each.error.details) };
  const { classes, batch_size: batchSize, timings } = each.classification;
  return { classes, batchSize, timings, model, version, totalSeconds };
}

// The wait that a refused image's google.rpc.RetryInfo names; NaN without one.
function retryDelay(details = []) {
  const info = details.find((each) => String(each["@type"]).endsWith("google.rpc.RetryInfo"));
  return info ? parseFloat(info.retry_delay ?? info.retryDelay) : NaN;
}

function tooLarge(bytes, limit) {
  const megabytes = (value) => (value / (1 << 20)).toFixed(1);
  return `The file has ${megabytes(bytes)} MiB; this server takes at most ${megabytes(limit)} MiB in a request.`;
}
