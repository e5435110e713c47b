// One plain sentence on whether the server answers, and the field for its token where it asks for one.

import { catalog, isReady } from "./catalog.js";
import { find, setText } from "./dom.js";
import { pictures } from "./pictures.js";
import { setToken } from "./tokens.js";
import { counted } from "./words.js";

export function startStatus() {
  catalog.addEventListener("change", showStatus);
  find("infer-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    setToken("infer", find("infer-token").value);
    await catalog.refresh();
    if (!catalog.trouble) pictures.retry();
  });
}

function showStatus() {
  const ready = catalog.models.filter(isReady).length;
  const state = catalog.trouble ? (catalog.isReachable ? "unready" : "away") : "ready";
  find("status").dataset.state = state;
  setText(find("status"), state === "ready" ? `${counted(ready, "model")} ready · ${catalog.version}` : { away: "No answer", unready: "Not ready" }[state]);
  setText(find("trouble"), catalog.trouble);
  find("trouble").hidden = !catalog.trouble;
  find("infer-form").hidden = !catalog.needsToken;
}
