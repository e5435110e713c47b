// The selected picture at full size, and what each chosen target says of it.

import { answerView } from "./answer_view.js";
import { element, find, setText } from "./dom.js";
import { pictures } from "./pictures.js";
import { targets } from "./targets.js";

export function startStage() {
  pictures.addEventListener("select", showPicture);
  for (const [source, name] of [[pictures, "select"], [pictures, "answer"], [targets, "change"]]) {
    source.addEventListener(name, showAnswers);
  }
  find("picture").addEventListener("error", () => find("stage").classList.add("is-unreadable"));
}

function showPicture() {
  const picture = pictures.selected;
  find("stage").hidden = picture === null;
  find("stage").classList.remove("is-unreadable");
  if (picture === null) return find("picture").removeAttribute("src");
  find("picture").src = picture.url;
  find("picture").alt = `The picture ${picture.name}`;
  setText(find("picture-name"), picture.name);
}

let shown = []; // what is on the page, so that bars do not start anew with each answer of another picture

function showAnswers() {
  const picture = pictures.selected;
  if (picture === null) return;
  const answers = targets.chosen.map((target) => [target, picture.answers.get(target.key)]);
  const wanted = [picture, ...answers.flatMap(([target, answer]) => [target.key, answer])];
  if (wanted.length === shown.length && wanted.every((each, place) => each === shown[place])) return;
  shown = wanted;
  find("stage").classList.toggle("is-comparing", answers.length > 1);
  find("answers").replaceChildren(...answers.map(([target, answer]) => answerView(target, answer)));
  setText(find("agreement"), agreementOf(answers.map(([, answer]) => answer)));
}

function agreementOf(answers) {
  const [one, other] = answers.map((answer) => answer?.classes?.[0]);
  if (answers.length < 2 || !one || !other) return "";
  if (one.label === other.label) return `Both say ${one.label}.`;
  return `They differ: ${one.label}, and ${other.label}.`;
}
