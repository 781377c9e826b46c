// The network itself, in a worker of this browser: nothing leaves it.

let worker = null;
let newest = 0;
let runtimes = null; // by what runs a network, "wasm" or "webgpu": its files and their sizes
let runs = "in this browser";
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

function call(kind, content, { tell, transfer = [] } = {}) {
  newest += 1;
  const id = newest;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, tell });
    worker.postMessage({ id, kind, ...content }, transfer);
  });
}

// What is told of each network; the first answers unless another is chosen.
export async function networks() {
  const response = await fetch("model.json").catch(() => null);
  if (!response?.ok) throw new Error("model.json can't be fetched from where this page came from");
  const told = await response.json();
  runtimes = told.runtimes;
  return told.networks;
}

// Fetch a network and what runs it; `tell` gets a line about the way.
export async function load(network, tell) {
  worker ??= start();
  const here = new URL(".", document.baseURI).href;
  // `#wasm` at the address's end keeps the network off the graphics processor.
  const asked = { facts: network, runtimes, here, gpu: location.hash !== "#wasm" };
  runs = await call("load", asked, { tell: (share) => tell(`Fetching ${network.name} and what runs it: ${Math.round(100 * share)} %`) });
}

// What runs the network.
export function runsOn() {
  return runs;
}

// The answer for one picture, a file or a frame; with `stages` also those of all stages and their heatmaps.
export async function pose(picture, { network, boxes, flipTest, stages, signal }) {
  const transfer = picture instanceof ImageBitmap ? [picture] : [];
  const answered = call("pose", { name: network.name, picture, boxes, flipTest, stages }, { transfer });
  let drop;
  const dropped = new Promise((_, reject) => {
    drop = () => {
      worker.postMessage({ kind: "drop" });
      reject(signal.reason);
    };
    signal.addEventListener("abort", drop);
  });
  return Promise.race([answered, dropped]).finally(() => signal.removeEventListener("abort", drop));
}

// A bitmap as the next picture; it stays whole.
export function encoded(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

// Whatever the browser could show it can read.
export async function readable(blob) {
  return blob;
}

// Nobody asks for one here.
export function useKey() {}
