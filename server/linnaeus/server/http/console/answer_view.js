// The answer of one target for a picture: bars of the classes, the time by stage, and the batch it rode in.

import { element } from "./dom.js";
import { counted, milliseconds, percent } from "./words.js";

export function answerView(target, answer) {
  const title = element("h2", { class: "target-name" }, target.name);
  if (answer === null || answer === undefined) return element("section", { class: "answer" }, title, waiting());
  if (answer.error) {
    return element("section", { class: "answer" }, title, element("p", { class: "error" }, answer.error));
  }
  return element(
    "section",
    { class: "answer" },
    element("div", { class: "answer-head" }, title, element("span", { class: "muted" }, `version ${answer.version}`)),
    headline(answer.classes),
    element("ol", { class: "bars" }, answer.classes.map(bar)),
    target.described.weights?.trained === false
      ? element("p", { class: "note" }, "Its weights are random: the labels mean nothing.")
      : null,
    stagesView(answer),
  );
}

function waiting() {
  const spinner = element("span", { class: "spinner", "aria-hidden": "true" });
  return element("p", { class: "waiting muted" }, spinner, "Asking …");
}

function headline([best]) {
  if (!best) return element("p", { class: "headline" }, "No class");
  return element(
    "p",
    { class: "headline" },
    element("span", { class: "headline-label" }, best.label),
    " ",
    element("span", { class: "headline-percent" }, percent(best.probability)),
  );
}

function bar({ label, probability }) {
  const fill = element("span", { class: "fill" });
  fill.style.setProperty("--part", String(probability));
  return element(
    "li",
    { class: "bar" },
    element("span", { class: "bar-label" }, label),
    element("span", { class: "bar-percent" }, percent(probability)),
    element("span", { class: "track", "aria-hidden": "true" }, fill),
  );
}

function stagesView({ timings, totalSeconds, batchSize }) {
  const stages = [
    ["decode", timings.decode_seconds],
    ["queue", timings.queue_seconds],
    ["inference", timings.inference_seconds],
  ];
  const rest = totalSeconds - stages.reduce((sum, [, seconds]) => sum + seconds, 0);
  stages.push(["network and rest", Math.max(0, rest)]);
  return element(
    "div",
    { class: "stages" },
    element(
      "p",
      { class: "stages-title" },
      element("strong", {}, milliseconds(totalSeconds)),
      " seen by this browser, in ",
      batchSize > 1 ? `a batch of ${counted(batchSize, "image")}` : "a batch of its own",
    ),
    element("div", { class: "stage-track", "aria-hidden": "true" }, stages.map(stagePart)),
    element("dl", { class: "stage-list" }, stages.map(stageEntry)),
  );
}

function stagePart([, seconds], place) {
  const part = element("span", { class: `stage-part stage-${place}` });
  part.style.flexGrow = String(Math.max(1000 * seconds, 1)); // a sum below 1 would not fill the track
  return part;
}

function stageEntry([name, seconds], place) {
  return element(
    "div",
    {},
    element("dt", {}, element("span", { class: `swatch stage-${place}`, "aria-hidden": "true" }), name),
    element("dd", {}, milliseconds(seconds)),
  );
}
