// How pictures come in: dropped anywhere on the page, pasted, picked or photographed.

import { find } from "./dom.js";

// Calls `take(files)` for each time that pictures come in.
export function startIntake(take) {
  const takeFiles = (list) => {
    const files = [...(list ?? [])];
    if (files.length) take(files);
  };
  for (const id of ["pick", "photograph"]) {
    find(id).addEventListener("change", (event) => {
      takeFiles(event.target.files);
      event.target.value = ""; // so that the same file can be picked again
    });
  }
  document.addEventListener("paste", (event) => takeFiles(event.clipboardData?.files));
  startDropping(takeFiles);
}

function startDropping(takeFiles) {
  let depth = 0; // an element is entered before the one around it is left
  const show = () => document.documentElement.classList.toggle("is-dropping", depth > 0);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (hasFiles(event)) depth += 1;
    show();
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFiles(event)) depth = Math.max(0, depth - 1);
    show();
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault(); // else the browser would open the file
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    takeFiles(event.dataTransfer.files);
  });
}
