// Shows schemas: the type of a value in a few words, and the fields of a message as a table.

import { element } from "./dom.js";

const nameOf = (reference) => reference.split("/").pop();
export const anchorOf = (name) => `message-${name}`;

export function paragraphs(text = "") {
  return text.split("\n\n").filter(Boolean).map((part) => element("p", {}, part));
}

// Text and links that name a type: "array of ScoredClass".
export function typeOf(schema) {
  if (schema.$ref) return [element("a", { href: `#${anchorOf(nameOf(schema.$ref))}` }, nameOf(schema.$ref))];
  if (schema.oneOf) return schema.oneOf.flatMap((each, index) => (index ? [" or ", ...typeOf(each)] : typeOf(each)));
  if (schema.type === "array") return ["array of ", ...typeOf(schema.items)];
  if (schema.contentEncoding) return [`${schema.type}, ${schema.contentEncoding}`];
  if (schema.enum) return [schema.enum.join(", ")];
  if (schema.format === "binary") return ["bytes"];
  return [schema.format ? `${schema.type}, ${schema.format}` : schema.type ?? "anything"];
}

export function table(label, rows) {
  const cells = rows.map(({ name, type, description }) =>
    element("tr", {},
      element("th", { scope: "row" }, element("code", {}, name)),
      element("td", { class: "type" }, type),
      element("td", {}, paragraphs(description))));
  return element("table", { class: "fields", "aria-label": label }, element("tbody", {}, cells));
}

export function messageBody(name, schema) {
  const fields = Object.entries(schema.properties ?? {});
  const rows = fields.map(([field, each]) => ({ name: field, type: typeOf(each), description: each.description }));
  const values = schema.enum && element("p", {}, schema.enum.map((value, index) => [index ? ", " : "", element("code", {}, value)]));
  return [element("div", {}, paragraphs(schema.description)), values, rows.length > 0 && table(`Fields of ${name}`, rows)];
}
