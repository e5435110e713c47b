// The choice of the model or version that answers, and of a second one beside it.

import { catalog, isReady } from "./catalog.js";
import { element, find } from "./dom.js";

const key = ({ model, version }) => `${model}\n${version}`;

// Tells of a "change" of what is chosen.
class Targets extends EventTarget {
  #options = new Map(); // by key

  start() {
    for (const id of ["target", "other-target"]) find(id).addEventListener("change", () => this.#changed());
    catalog.addEventListener("change", () => this.#fill());
  }

  // One or two targets, each with the description of its version.
  get chosen() {
    const keys = new Set([find("target").value, find("other-target").value]);
    return [...keys].filter((each) => this.#options.has(each)).map((each) => this.#options.get(each));
  }

  #fill() {
    const options = targetsOf(catalog.models);
    const names = [...options.values()].map((each) => `${each.key} ${each.name}`).join();
    if (names === [...this.#options.values()].map((each) => `${each.key} ${each.name}`).join()) {
      this.#options = options; // the same names, of what may be described anew
      return;
    }
    this.#options = options;
    const before = [find("target").value, find("other-target").value];
    fillSelect(find("target"), [...options.values()], before[0] || bestKey(options));
    fillSelect(find("other-target"), [{ key: "", name: "Nothing" }, ...options.values()], before[1]);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// Each model that is ready by its default version, and where it has more than one, each of them.
function targetsOf(models) {
  const options = new Map();
  const add = (model, version, name, described) => {
    const target = { model, version, name, described };
    options.set(key(target), { ...target, key: key(target) });
  };
  for (const name of new Set(models.map((each) => each.name))) {
    const ready = models.filter((each) => each.name === name && isReady(each));
    const served = ready.find((each) => each.is_default);
    if (served) add(name, "", name, served);
    if (ready.length < 2 && served) continue;
    for (const each of ready) add(name, String(each.version), `${name}, version ${each.version}`, each);
  }
  return options;
}

// A photograph is best shown to a model that was trained and knows many classes.
function bestKey(options) {
  const worth = ({ described }) => (described.weights?.trained ? 1e6 : 0) + described.class_count;
  return [...options.values()].sort((one, other) => worth(other) - worth(one))[0]?.key;
}

function fillSelect(select, targets, chosen) {
  select.replaceChildren(...targets.map(({ key: value, name }) => element("option", { value }, name)));
  if (targets.some((each) => each.key === chosen)) select.value = chosen;
  else select.selectedIndex = targets.length ? 0 : -1;
}

export const targets = new Targets();
