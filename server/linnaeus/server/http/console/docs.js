// The page of the HTTP interface: shows what /openapi.json says.

import { element, find, setText } from "./dom.js";
import { anchorOf, messageBody, paragraphs, table, typeOf } from "./docs_messages.js";

const resolved = (document_, part) =>
  part.$ref ? part.$ref.slice(2).split("/").reduce((place, name) => place[name], document_) : part;

function entry(anchor, summary, body) {
  return element("details", { class: "entry", id: anchor },
    element("summary", {}, summary),
    element("div", { class: "body" }, body));
}

function section(title, ...children) {
  return children.length > 0 && element("div", {}, element("h3", {}, title), children);
}

function contents(title, content = {}) {
  const items = Object.entries(content).map(([type, each]) => element("li", {}, element("code", {}, type), ": ", typeOf(each.schema)));
  return items.length > 0 && section(title, element("ul", { class: "media" }, items));
}

// The command as this server is reached, with a button that copies it.
function sample({ source }) {
  const command = source.replaceAll("http://localhost:8000", location.origin);
  const copy = element("button", { type: "button", click: async () => {
    await navigator.clipboard.writeText(command).then(() => setText(copy, "Copied"), () => setText(copy, "Select it"));
    setTimeout(() => setText(copy, "Copy"), 2000);
  } }, "Copy");
  return element("div", { class: "sample" }, element("pre", { tabindex: "0", "aria-label": "The request with curl" }, command), copy);
}

function operation(document_, path, method, said) {
  const parameters = said.parameters.map((each) => resolved(document_, each));
  const rows = parameters.map(({ name, in: place, schema, description }) =>
    ({ name, type: [...typeOf(schema), ` (${place})`], description }));
  const summary = [
    element("span", { class: `method method-${method}` }, method.toUpperCase()),
    element("span", { class: "path" }, path),
    element("span", { class: "says" }, said.summary),
  ];
  return entry(`operation-${said.operationId}`, summary, [
    said.description && element("div", {}, paragraphs(said.description)),
    (said["x-codeSamples"] ?? []).map(sample),
    rows.length > 0 && section("Parameters", table(`Parameters of ${path}`, rows)),
    contents("Body, one of", said.requestBody?.content),
    contents("Answer", said.responses["200"].content),
  ]);
}

function parts(document_) {
  const byTag = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, said] of Object.entries(methods)) {
      const tag = said.tags[0];
      byTag.set(tag, [...(byTag.get(tag) ?? []), operation(document_, path, method, said)]);
    }
  }
  byTag.set("Errors", problems(document_));
  const messages = Object.entries(document_.components.schemas);
  byTag.set("Messages", messages.map(([name, schema]) =>
    entry(anchorOf(name), element("span", { class: "path" }, name), messageBody(name, schema))));
  return [...byTag];
}

function problems(document_) {
  const { description, headers, content } = document_.components.responses.Problem;
  const rows = [...description.matchAll(/(\d{3}): ([^.]+)\./g)].map(([, name, text]) => ({ name, type: [], description: text }));
  const named = Object.entries(headers).map(([name, each]) => ({ name, type: typeOf(each.schema), description: each.description }));
  return [element("div", { class: "body" }, contents("Body", content), section("Status", table("Statuses", rows)),
    section("Headers", table("Headers of errors", named)))];
}

function show(document_) {
  setText(find("intro"), document_.info.description);
  const shown = parts(document_).map(([title, entries]) => {
    const anchor = title.toLowerCase().replaceAll(" ", "-");
    const part = element("section", { class: "part", id: anchor, "aria-label": title }, element("h2", {}, title), entries);
    return { part, link: element("li", {}, element("a", { href: `#${anchor}` }, title)) };
  });
  find("operations").append(...shown.map(({ part }) => part));
  find("contents").append(element("ul", {}, shown.map(({ link }) => link)));
  const wanted = () => {
    const target = find(location.hash.slice(1));
    if (!target) return;
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", wanted);
  wanted();
}

async function start() {
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    setText(find("intro"), `/openapi.json cannot be shown: ${error.message}. Load the page again.`);
  }
}

start();
