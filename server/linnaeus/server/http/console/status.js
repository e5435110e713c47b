// One plain sentence on whether the server answers, and the field for its token where it asks for one.

import { catalog, isReady } from "./catalog.js";
import { find, setText } from "./dom.js";
import { setToken } from "./tokens.js";
import { counted } from "./words.js";

export function startStatus() {
  catalog.addEventListener("change", showStatus);
  find("infer-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken("infer", find("infer-token").value);
    catalog.refresh();
  });
}

function showStatus() {
  const ready = catalog.models.filter(isReady).length;
  const state = catalog.trouble ? (catalog.isReachable ? "unready" : "away") : "ready";
  find("status").dataset.state = state;
  const words = { ready: `${counted(ready, "model")} ready · ${catalog.version}`, away: "No answer", unready: "Not ready" };
  setText(find("status"), words[state]);
  setText(find("trouble"), catalog.trouble);
  find("trouble").hidden = !catalog.trouble;
  find("infer-form").hidden = !catalog.needsToken;
}
