// A worker: it fetches the network and what runs it, and answers pictures one after the other.

import { answerOf } from "./answer.js";
import { findPerson, squaresOf } from "./person.js";
import { cutOut, readPicture } from "./picture.js";

const MOST_THREADS = 4;
let ort = null; // what runs networks, and how it is told to
let provider = null;
const networks = new Map(); // by name { facts, model, readings: [plain, with a flip test] }
let latest = 0;
let queue = Promise.resolve();

self.addEventListener("message", ({ data }) => {
  latest = data.kind === "drop" ? 0 : data.id;
  if (data.kind === "drop") return;
  queue = queue.then(async () => {
    try {
      self.postMessage({ id: data.id, result: await (data.kind === "load" ? load(data) : answer(data)) });
    } catch (error) {
      self.postMessage({ id: data.id, error: error.message });
    }
  });
});

async function load({ id, facts, runtimes, here, gpu }) {
  if (networks.has(facts.name)) return runsOn();
  if (!ort && gpu && (await hasGpu())) {
    try {
      await prepare("webgpu", id, facts, runtimes.webgpu, here);
      return runsOn();
    } catch {
      ort = null; // a driver that can't: the processor does it instead
    }
  }
  try {
    await prepare(provider ?? "wasm", id, facts, ort ? {} : runtimes.wasm, here);
  } catch (error) {
    if (error.missing) throw error;
    throw new Error(`this browser can't run the network (${String(error.message ?? error).split("\n")[0]})`);
  }
  return runsOn();
}

async function hasGpu() {
  const adapter = await self.navigator.gpu?.requestAdapter().catch(() => null);
  // One that is itself a program on the processor is slower than WebAssembly.
  return Boolean(adapter && !adapter.isFallbackAdapter && !adapter.info?.isFallbackAdapter);
}

function runsOn() {
  if (provider === "webgpu") return "on this device's GPU";
  const threads = ort.env.wasm.numThreads;
  return threads > 1 ? `in this browser, ${threads} threads` : "in this browser";
}

async function prepare(wanted, id, facts, runtime, here) {
  const names = Object.keys(facts.files);
  const sizes = { ...facts.files, ...runtime };
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let done = 0;
  const tell = (bytes) => {
    done += bytes;
    self.postMessage({ id, told: Math.min(1, done / total) });
  };
  const [script, binary] = Object.keys(runtime);
  const [wasm, ...graphs] = await Promise.all([binary, ...names].map((name) => name && fetched(name, here, tell)));
  if (script) {
    ort = await import(new URL(script, here));
    ort.env.wasm.wasmBinary = wasm.buffer;
    // Threads share memory, which a browser allows only to pages that their host isolates.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  }
  // The readings are small and full of what a graphics processor is slow at.
  const [model, ...readings] = graphs;
  const create = (graph, where) => ort.InferenceSession.create(graph, { executionProviders: [where] });
  const network = { facts, model: await create(model, wanted), readings: [] };
  for (const graph of readings) network.readings.push(await create(graph, "wasm"));
  const size = facts.input_px;
  const raw = await network.model.run({ image: new ort.Tensor("uint8", new Uint8Array(3 * size * size), [1, 3, size, size]) });
  if (!Object.values(raw).every(({ data }) => data.every(Number.isFinite))) throw new Error("it answers with what is no number");
  provider = wanted;
  networks.set(facts.name, network);
}

async function fetched(name, here, tell) {
  const response = await fetch(new URL(name, here)).catch(() => null);
  if (!response?.ok) throw Object.assign(new Error(`${name} can't be fetched from where this page came from`), { missing: true });
  const parts = [];
  const reader = response.body.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    parts.push(value);
    tell(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function answer({ id, name, picture: given, boxes, flipTest, stages }) {
  const network = networks.get(name);
  const picture = await readPicture(given);
  const { squares, refine } = squaresOf(boxes, picture, network.facts);
  const people = [];
  for (const square of squares) {
    people.push(await findPerson(square, refine, (next) => look(id, network, picture, next, flipTest), network.facts));
  }
  return answerOf(network.facts, picture, people, stages);
}

// What each stage says of one square of the picture.
async function look(id, { facts, model, readings }, picture, square, flipTest) {
  // Lets messages in, of which a newer picture's is one.
  await new Promise((next) => setTimeout(next));
  if (id !== latest) throw new Error("another picture came");
  const size = facts.input_px;
  const crop = cutOut(picture, square, size);
  const views = flipTest ? [crop, mirrored(crop, size)] : [crop];
  const data = new Uint8Array(views.length * crop.length);
  views.forEach((view, i) => data.set(view, i * crop.length));
  const raw = await model.run({ image: new ort.Tensor("uint8", data, [views.length, 3, size, size]) });
  const read = await readings[flipTest ? 1 : 0].run(raw);
  const count = Object.keys(read).filter((output) => output.startsWith("joints_")).length;
  return Array.from({ length: count }, (_, i) => {
    const maps = read[`maps_${i + 1}`];
    const [joints, height, width] = maps?.dims ?? [];
    return {
      maps: maps && { joints, height, width, values: maps.data },
      joints: read[`joints_${i + 1}`].data,
      scores: read[`scores_${i + 1}`].data,
      covariances: read[`covariances_${i + 1}`]?.data,
    };
  });
}

function mirrored(crop, size) {
  const other = new Uint8Array(crop.length);
  for (let row = 0; row < crop.length; row += size) {
    for (let u = 0; u < size; u += 1) other[row + u] = crop[row + size - 1 - u];
  }
  return other;
}
