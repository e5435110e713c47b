// The pictures of this page, and for each the answers by target. Nothing of them outlives the page.

import { catalog } from "./catalog.js";
import { classifyFiles } from "./classify.js";
import { targets } from "./targets.js";

const TOP_K = 5;
const FILES_IN_A_REQUEST = 16; // of many, so that answers come bit by bit

// Tells of "list" (added, removed), "select", and "answer" (of any picture).
class Pictures extends EventTarget {
  list = [];
  selected = null;

  // What failed while the server was away, or without a token, is asked for again when it answers.
  start() {
    targets.addEventListener("change", () => this.#classifyWhatIsMissing());
    let wasTrouble = false;
    catalog.addEventListener("change", () => {
      if (wasTrouble && !catalog.trouble) this.retry();
      wasTrouble = Boolean(catalog.trouble);
    });
  }

  add(files) {
    const added = files.map((file) => ({
      file,
      name: file.name || "pasted picture",
      url: URL.createObjectURL(file),
      answers: new Map(), // by the key of a target; null: asked for
      maps: new Map(), // by the key of a target
    }));
    this.list.push(...added);
    this.#tell("list");
    this.select(added[0]);
    return this.#classifyWhatIsMissing();
  }

  select(picture) {
    this.selected = picture;
    this.#tell("select");
  }

  clear() {
    for (const { url } of this.list) URL.revokeObjectURL(url);
    this.list = [];
    this.#tell("list");
    this.select(null);
  }

  // Asks once more for what had an error.
  retry() {
    for (const { answers } of this.list) {
      for (const [key, answer] of answers) if (answer?.error) answers.delete(key);
    }
    return this.#classifyWhatIsMissing();
  }

  async #classifyWhatIsMissing() {
    await Promise.all(targets.chosen.map((target) => this.#classify(target)));
  }

  async #classify(target) {
    const missing = this.list.filter((each) => !each.answers.has(target.key));
    if (!missing.length) return;
    for (const each of missing) each.answers.set(target.key, null);
    this.#tell("answer");
    const options = { limits: catalog.limits, groupSize: FILES_IN_A_REQUEST, topK: TOP_K };
    await classifyFiles(missing.map((each) => each.file), target, options, (index, result) => {
      missing[index].answers.set(target.key, result);
      this.#tell("answer");
    });
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

export const pictures = new Pictures();
