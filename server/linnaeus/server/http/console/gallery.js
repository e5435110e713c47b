// All pictures as small ones with their best label; a click shows one large.

import { element, find, setText } from "./dom.js";
import { pictures } from "./pictures.js";
import { targets } from "./targets.js";
import { makeThumbnail } from "./thumbnails.js";
import { counted, percent } from "./words.js";

const cards = new Map(); // by picture

export function startGallery() {
  pictures.addEventListener("list", showList);
  for (const name of ["select", "answer"]) pictures.addEventListener(name, showAnswers);
  targets.addEventListener("change", showAnswers);
  find("clear").addEventListener("click", () => {
    pictures.clear();
    find("pick").focus();
  });
  find("retry").addEventListener("click", () => pictures.retry());
}

function showList() {
  for (const picture of cards.keys()) if (!pictures.list.includes(picture)) cards.delete(picture);
  for (const picture of pictures.list) if (!cards.has(picture)) cards.set(picture, makeCard(picture));
  find("gallery").replaceChildren(...pictures.list.map((picture) => cards.get(picture).item));
  document.documentElement.classList.toggle("has-pictures", pictures.list.length > 0);
  find("gallery").hidden = pictures.list.length < 2;
  find("clear").hidden = pictures.list.length === 0;
  showAnswers();
}

function makeCard(picture) {
  const caption = element("span", { class: "card-caption" });
  const canvas = element("canvas", { class: "thumbnail", width: 1, height: 1, "aria-hidden": "true" });
  const button = element(
    "button",
    { type: "button", class: "card", title: picture.name, click: () => pictures.select(picture) },
    canvas,
    element("span", { class: "visually-hidden" }, `${picture.name}: `),
    caption,
  );
  makeThumbnail(picture.file, canvas);
  return { item: element("li", {}, button), button, caption };
}

function showAnswers() {
  const [target] = targets.chosen;
  for (const picture of pictures.list) {
    const { button, caption } = cards.get(picture);
    const answer = target && picture.answers.get(target.key);
    setText(caption, captionOf(answer));
    button.classList.toggle("has-error", Boolean(answer?.error));
    button.setAttribute("aria-current", String(picture === pictures.selected));
  }
  showSummary();
}

function captionOf(answer) {
  if (!answer) return "…";
  if (answer.error) return "no answer";
  const [best] = answer.classes;
  return best ? `${best.label} ${percent(best.probability)}` : "no class";
}

function showSummary() {
  const answers = targets.chosen.flatMap(({ key }) => pictures.list.map((picture) => picture.answers.get(key)));
  const failed = answers.filter((each) => each?.error).length;
  const open = answers.filter((each) => !each).length;
  find("retry").hidden = failed === 0 || open > 0;
  setText(find("summary"), summaryOf(answers.length, open, failed));
}

function summaryOf(asked, open, failed) {
  if (!pictures.list.length) return "";
  if (!asked) return "No model is ready to answer.";
  const failures = failed ? `, ${failed} could not be answered` : "";
  if (open) return `${asked - open} of ${counted(asked, "answer")} are here${failures}.`;
  const answered = asked - failed;
  return `${counted(pictures.list.length, "picture")}, ${counted(answered, "answer")}${failures}.`;
}
