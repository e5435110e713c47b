// The calls that do the same from a shell and from Python, ready to copy.

import { element, find, setText } from "./dom.js";
import { pictures } from "./pictures.js";
import { pathOf } from "./classify.js";
import { targets } from "./targets.js";
import { hasToken } from "./tokens.js";

const GRPC_PORT = 8001; // the server's default; the page cannot know another

export function startCalls() {
  pictures.addEventListener("select", showCalls);
  targets.addEventListener("change", showCalls);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  showCalls();
}

function showCalls() {
  const [target] = targets.chosen;
  if (!target) return;
  const file = pictures.selected?.name ?? "cat.jpg";
  setText(find("call-curl"), curlCall(target, file));
  setText(find("call-python"), pythonCall(target, file));
  setText(find("call-grpcurl"), grpcurlCall(target, file));
}

// A word of a shell: in single quotes unless it is plain.
const shellWord = (text) => (/^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function curlCall(target, file) {
  const token = hasToken() ? ' \\\n  -H "Authorization: Bearer $LINNAEUS_TOKEN"' : "";
  const url = `${location.origin}${pathOf(target)}:classify?top_k=5`;
  return `curl --data-binary ${shellWord(`@${file}`)}${token} \\\n  ${shellWord(url)}`;
}

function pythonCall(target, file) {
  const quoted = (text) => JSON.stringify(text);
  const version = target.version ? `, version=${quoted(target.version)}` : "";
  const imports = hasToken() ? "import os\n\n" : "";
  const options = (hasToken() ? ', token=os.environ["LINNAEUS_TOKEN"]' : "") + (isTls() ? ", tls=True" : "");
  return `${imports}from linnaeus.client import Client

with Client(${quoted(`${location.hostname}:${GRPC_PORT}`)}${options}) as client:
    result = client.classify(${quoted(file)}, model=${quoted(target.model)}${version}, top_k=5)
    for each in result.classes:
        print(f"{each.probability:.3f} {each.label}")`;
}

function grpcurlCall(target, file) {
  const version = target.version ? `, "version": ${JSON.stringify(target.version)}` : "";
  const token = hasToken() ? ' -H "Authorization: Bearer $LINNAEUS_TOKEN"' : "";
  const plain = isTls() ? "" : " -plaintext";
  return `grpcurl${plain}${token} -max-time 5 -d @ \\
  ${location.hostname}:${GRPC_PORT} linnaeus.v1.ClassifierService/Classify <<END
{"model": ${JSON.stringify(target.model)}${version}, "top_k": 5,
 "image": {"encoded": "$(base64 < ${shellWord(file)} | tr -d '\\n')"}}
END`;
}

const isTls = () => location.protocol === "https:";

// The clipboard's interface is there only over TLS and on the machine itself; elsewhere the text is selected.
async function copy(button) {
  const text = find(button.dataset.copy);
  const isCopied = await navigator.clipboard?.writeText(text.textContent).then(() => true, () => false);
  if (!isCopied) getSelection().selectAllChildren(text);
  const said = element("span", { class: "copied", role: "status" }, isCopied ? "Copied" : "Selected: press Ctrl+C");
  button.parentElement.querySelector(".copied")?.remove();
  button.before(said);
  setTimeout(() => said.remove(), 2500);
}
