// What the server says about itself: its models, its limits, and whether it can be reached. Asked for again and again.

import { send } from "./api.js";

const SECONDS_BETWEEN = 5;
const SECONDS_BETWEEN_WHILE_AWAY = 2;
const SECONDS_TO_ANSWER = 10;

// Tells of a "change": of `models`, `limits`, `version`, or of `trouble`, the sentence on why they may be out of date.
class Catalog extends EventTarget {
  models = [];
  limits = { max_batch_images: 1, max_message_bytes: 32 << 20 };
  version = "";
  trouble = "";
  needsToken = false;
  isReachable = false;
  #timer = 0;

  // Asks now, and from now on every few seconds while the page is visible.
  start() {
    document.addEventListener("visibilitychange", () => this.refresh());
    return this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (!document.hidden) await this.#ask();
    clearTimeout(this.#timer); // of another call, meanwhile
    const seconds = this.trouble ? SECONDS_BETWEEN_WHILE_AWAY : SECONDS_BETWEEN;
    this.#timer = setTimeout(() => this.refresh(), seconds * 1000);
  }

  async #ask() {
    try {
      const answer = await (await send("/v1/models", { signal: AbortSignal.timeout(SECONDS_TO_ANSWER * 1000) })).json();
      this.models = answer.models;
      this.limits = answer.limits;
      this.version = answer.server_version;
      this.isReachable = true;
      this.needsToken = false;
      this.trouble = await this.#readiness();
    } catch (error) {
      this.isReachable = error.status > 0;
      this.needsToken = error.status === 401 || error.status === 403;
      this.trouble = troubleOf(error);
    }
    this.dispatchEvent(new Event("change"));
  }

  async #readiness() {
    const response = await fetch("/readyz", { cache: "no-store" }).catch(() => null);
    if (response === null) return troubleOf({ status: 0 });
    if (response.ok) return "";
    const reason = (await response.text()).trim();
    return `The server is not ready: ${reason || "it says no reason"}. This page asks again and goes on by itself.`;
  }
}

function troubleOf(error) {
  if (error.status === 0) {
    return "The server does not answer. This page asks again every two seconds and goes on by itself.";
  }
  if (error.status === 401) return `The server asks for a token. ${error.message}`;
  if (error.status === 503) return `The server is stopping or not ready. ${error.message} This page asks again.`;
  return error.message;
}

export const catalog = new Catalog();

export const isReady = (model) => model.state === "MODEL_STATE_READY";
