// The models and their versions: where they stand, on what they run and why, and the buttons that change it.

import { request } from "./api.js";
import { catalog, isReady } from "./catalog.js";
import { pathOf } from "./classify.js";
import { element, find, setText } from "./dom.js";
import { setToken } from "./tokens.js";
import { counted, short } from "./words.js";

let shown = ""; // what is on the page, so that a button keeps the focus while nothing changes

export function startModelsView() {
  catalog.addEventListener("change", showModels);
  find("admin-token").addEventListener("input", (event) => setToken("admin", event.target.value));
  find("admin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    catalog.refresh();
  });
}

function showModels() {
  const text = JSON.stringify(catalog.models);
  if (text === shown) return;
  shown = text;
  const focused = document.activeElement?.dataset?.action;
  const names = [...new Set(catalog.models.map(({ name }) => name))];
  const cards = names.map((name) => modelCard(name, catalog.models.filter((each) => each.name === name)));
  const none = element("p", { class: "muted" }, "The server knows no model.");
  find("model-list").replaceChildren(...(cards.length ? cards : [none]));
  if (focused) document.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
}

function modelCard(name, versions) {
  const has = (state) => versions.some((each) => each.state === `MODEL_STATE_${state}`);
  const buttons = [
    has("UNLOADED") || has("FAILED") ? actionButton("Load", name, { model: name }, "load") : null,
    has("READY") ? actionButton("Reload", name, { model: name }, "reload") : null,
    has("READY") ? unloadButton(name, { model: name }) : null,
  ];
  return element(
    "article",
    { class: "model", "aria-label": name },
    element("header", { class: "model-head" }, element("h3", {}, name), element("div", { class: "buttons" }, buttons)),
    element("ul", { class: "versions" }, versions.map((each) => versionView(each, versions.length > 1))),
  );
}

function versionView(model, hasOthers) {
  const state = model.state.replace("MODEL_STATE_", "").toLowerCase();
  const target = { model: model.name, version: String(model.version) };
  const name = `${model.name}, version ${model.version}`;
  return element(
    "li",
    { class: "version" },
    element(
      "p",
      { class: "version-head" },
      element("strong", {}, `Version ${model.version}`),
      element("span", { class: `state state-${state}` }, state),
      model.is_default ? element("span", { class: "badge" }, "default") : null,
      model.version_labels.map((label) => element("span", { class: "badge" }, label)),
    ),
    model.state_reason ? element("p", { class: isReady(model) ? "note" : "error" }, model.state_reason) : null,
    factsView(model),
    element(
      "div",
      { class: "buttons" },
      isReady(model) && !model.is_default ? actionButton("Make default", name, target, "setDefault") : null,
      isReady(model) && hasOthers ? unloadButton(name, target) : null,
    ),
  );
}

function factsView({ architecture, class_count: classes, parameter_count: parameters, weights, specialisations }) {
  const facts = [
    architecture,
    classes ? counted(classes, "class").replace("classs", "classes") : "",
    parameters ? `${short(parameters)} parameters` : "",
    weights?.source ? `weights: ${weights.source}` : "",
  ].filter(Boolean);
  return [
    facts.length ? element("p", { class: "facts" }, facts.join(" · ")) : null,
    specialisations.map((each) => element(
      "details",
      { class: "device" },
      element("summary", {}, `${each.device}: ${each.runtime || "torchscript"}, ${each.precision}`),
      element("p", { class: "muted" }, [each.runtime_reason, each.precision_reason].filter(Boolean).join(" ")),
    )),
  ];
}

function actionButton(text, name, target, action) {
  const path = `${pathOf(target)}:${action}`;
  return element(
    "button",
    {
      type: "button",
      "data-action": path,
      "aria-label": `${text} ${name}`,
      click: ({ currentTarget }) => run(currentTarget, text, name, path),
    },
    text,
  );
}

// What stops answers asks before it does.
function unloadButton(name, target) {
  const path = `${pathOf(target)}:unload`;
  const ask = ({ currentTarget }) => {
    const dialog = find("confirm");
    const consequence = "Calls in flight are answered, later ones are refused until it is loaded again.";
    setText(find("confirm-text"), `Unload ${name}? ${consequence}`);
    dialog.returnValue = "";
    dialog.onclose = () => dialog.returnValue === "unload" && run(currentTarget, "Unload", name, path);
    dialog.showModal();
  };
  const attributes = { type: "button", "data-action": path, "aria-label": `Unload ${name}`, click: ask };
  return element("button", attributes, "Unload");
}

async function run(button, text, name, path) {
  say("", `${text}: ${name} …`);
  button.disabled = true;
  try {
    await request(path, { method: "POST", right: "admin" });
    say("", `${text}: ${name} is done.`);
  } catch (error) {
    const advice = error.status === 401 || error.status === 403 ? " Type an admin token above." : "";
    say("error", `${text}: ${name} was refused. ${error.message}${advice}`);
  }
  button.disabled = false;
  await catalog.refresh();
}

function say(kind, text) {
  find("models-message").className = kind;
  setText(find("models-message"), text);
}
