// Where a model looked: how much less probable its answer becomes when a place of the picture is covered.
//
// It needs nothing of the model but answers, so it works for every model. The copies are classified as one request of
// low priority, which waits for the server's other callers. M. D. Zeiler and R. Fergus, ECCV 2014, section 4.2.

import { classifyFiles } from "./classify.js";
import { coveredCopies } from "./covered_copies.js";

const LONGEST_SECONDS = 120;

// Finds how many copies a side of the grid has: as asked, or as many as fit one request.
export function fittingGrid(wanted, limits) {
  const most = Math.floor(Math.sqrt((limits.max_batch_images || 1) - 1));
  return Math.max(7, Math.min(wanted, most));
}

// Returns the map: `drops`, row by row, how much of the class's probability each cover takes (0 to 1; null: no answer),
// with `grid`, `label`, `probability` of the whole picture, and `missing`, the answers that did not come.
//
// Throws an Error whose message is a sentence if the picture cannot be read, or no map can be made of the answers.
export async function occlusionMap(file, answer, grid, limits, progress) {
  const [{ index, label, probability }] = answer.classes;
  const files = await coveredCopies(file, grid).catch(() => {
    throw new Error("This browser cannot read the picture, so it cannot cover parts of it.");
  });
  const results = await classifyAll(files, answer, { limits, minProbability: probability / 50 }, progress);
  const probabilities = results.map((result) => probabilityOf(result, index));
  const whole = probabilities[0];
  const missing = probabilities.filter((each) => each === null).length;
  if (whole === null || missing > grid) throw new Error(results.find((result) => result.error).error);
  const drops = probabilities.slice(1).map((each) => (each === null ? null : Math.max(0, whole - each)));
  return { drops, grid, label, probability: whole, missing };
}

async function classifyAll(files, { model, version }, options, progress) {
  const results = [];
  let count = 0;
  const all = { ...options, groupSize: Infinity, priority: "low", timeoutSeconds: LONGEST_SECONDS };
  await classifyFiles(files, { model, version: String(version) }, all, (place, result) => {
    results[place] = result;
    count += 1;
    progress(count, files.length);
  });
  return results;
}

// A class that is not among those of at least a fiftieth of its probability counts as none.
function probabilityOf(result, index) {
  if (result.error) return null;
  return result.classes.find((each) => each.index === index)?.probability ?? 0;
}
