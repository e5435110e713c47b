// One request to the server: its token, its error as a sentence, and one more try when the server says when.

import { authorization } from "./tokens.js";

const LONGEST_WAIT_SECONDS = 30;

// What the server refused, with the sentence that it gave. `status` is 0 if it could not be reached.
export class ServerError extends Error {
  constructor(sentence, status = 0, retryAfterSeconds = NaN) {
    super(sentence);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

// Sends a request, and once more where the answer has a Retry-After of at most half a minute.
export async function request(path, options = {}) {
  try {
    return await send(path, options);
  } catch (error) {
    if (!(error.retryAfterSeconds <= LONGEST_WAIT_SECONDS)) throw error;
    await pause(error.retryAfterSeconds);
    return send(path, options);
  }
}

// Sends a request once. Options: right ("infer" or "admin"), and those of fetch.
export async function send(path, { right = "infer", headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers, ...authorization(right) }, cache: "no-store" });
  } catch (error) {
    throw new ServerError("The server cannot be reached, or it closed the connection before it answered.");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

async function problemOf(response) {
  const problem = await response.json().catch(() => null); // a proxy's error may be any text
  const sentence = problem?.detail || `The server answered ${response.status} ${response.statusText}.`;
  return new ServerError(String(sentence), response.status, retryAfterOf(response));
}

// Seconds, or a date: RFC 9110, 10.2.3. NaN: the header is not there.
function retryAfterOf(response) {
  const value = response.headers.get("Retry-After");
  if (value === null) return NaN;
  return /^[\d.]+$/.test(value) ? Number(value) : Math.max(0, (Date.parse(value) - Date.now()) / 1000);
}
