// The network itself, in a worker of this browser: nothing leaves it.

let worker = null;
let newest = 0;
const waiting = new Map();

// Started from a blob, since such a worker keeps to the page's own security policy.
function start() {
  const address = new URL("./worker.js", import.meta.url);
  const code = new Blob([`import ${JSON.stringify(address.href)};`], { type: "text/javascript" });
  const made = new Worker(URL.createObjectURL(code), { type: "module" });
  made.addEventListener("message", ({ data: { id, told, result, error } }) => {
    const call = waiting.get(id);
    if (told !== undefined) {
      call?.tell?.(told);
      return;
    }
    waiting.delete(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new Error(error));
  });
  made.addEventListener("error", (event) => {
    event.preventDefault();
    for (const { reject } of waiting.values()) reject(new Error("this browser can't start the network"));
    waiting.clear();
  });
  return made;
}

function call(kind, content, tell) {
  newest += 1;
  const id = newest;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, tell });
    worker.postMessage({ id, kind, ...content });
  });
}

// What is told of the network, once it is here; `tell` gets a line about the way.
export async function model(tell) {
  const response = await fetch("model.json").catch(() => null);
  if (!response?.ok) throw new Error("model.json can't be fetched from where this page came from");
  const facts = await response.json();
  worker ??= start();
  const here = new URL(".", document.baseURI).href;
  await call("load", { facts, here }, (share) => tell(`Fetching ${facts.name} and what runs it: ${Math.round(100 * share)} %`));
  return facts;
}

// The answer for one picture, with all stages and their heatmaps where the network has them.
export async function pose(blob, { boxes, flipTest, signal }) {
  const dropped = new Promise((_, reject) => {
    signal.addEventListener("abort", () => {
      worker.postMessage({ kind: "drop" });
      reject(signal.reason);
    });
  });
  return Promise.race([call("pose", { blob, boxes, flipTest }), dropped]);
}

// Whatever the browser could show it can read.
export async function readable(blob) {
  return blob;
}

// Nobody asks for one here.
export function useKey() {}
