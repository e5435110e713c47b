// Builds elements. Text is always a text node: nothing that a label or a file name says is taken for markup.

export const find = (id) => document.getElementById(id);

// Attributes: functions are listeners ("click"), false and undefined are left out. Children: nodes and text; null is
// none.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  setAttributes(made, attributes);
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function svgElement(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

// Sets a text only where it changed, so that a live region is not read out again.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function setAttributes(target, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") target.addEventListener(key, value);
    else if (value !== false && value !== undefined) target.setAttribute(key, value === true ? "" : value);
  }
}
