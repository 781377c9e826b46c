// A worker: it fetches the network and what runs it, and answers pictures one after the other.

import { answerOf } from "./answer.js";
import { findPerson, squaresOf } from "./person.js";
import { cutOut, readPicture } from "./picture.js";

const MOST_THREADS = 4;
let ort = null; // what runs networks, and how it is told to
let provider = null;
const networks = new Map(); // by name { facts, model }
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
  const [name] = Object.keys(facts.files);
  const sizes = { ...facts.files, ...runtime };
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let done = 0;
  const tell = (bytes) => {
    done += bytes;
    self.postMessage({ id, told: Math.min(1, done / total) });
  };
  const [script, binary] = Object.keys(runtime);
  const [wasm, graph] = await Promise.all([binary, name].map((each) => each && fetched(each, here, tell)));
  if (script) {
    ort = await import(new URL(script, here));
    ort.env.wasm.wasmBinary = wasm.buffer;
    // Threads share memory, which a browser allows only to pages that their host isolates.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  }
  // What a graphics processor can't do, the processor does.
  const executionProviders = [...new Set([wanted, "wasm"])];
  const network = { facts, model: await ort.InferenceSession.create(graph, { executionProviders }) };
  const size = facts.input_px;
  const found = await run(network, new Uint8Array(3 * size * size), false);
  if (!found.keypoints.data.every(Number.isFinite)) throw new Error("it answers with what is no number");
  provider = wanted;
  networks.set(facts.name, network);
}

function run({ facts, model }, crop, flipTest) {
  const size = facts.input_px;
  return model.run({
    image: new ort.Tensor("uint8", crop, [1, 3, size, size]),
    flip_test: new ort.Tensor("bool", [Boolean(flipTest)], []),
  });
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
async function look(id, network, picture, square, flipTest) {
  // Lets messages in, of which a newer picture's is one.
  await new Promise((next) => setTimeout(next));
  if (id !== latest) throw new Error("another picture came");
  const { facts, model } = network;
  const found = await run(network, cutOut(picture, square, facts.input_px), flipTest);
  const last = model.outputNames.filter((name) => name.startsWith("stage_")).length;
  return Array.from({ length: last }, (_, i) => {
    const of = (name) => found[i + 1 < last ? `${name}_${i + 1}` : name]?.data;
    const maps = facts.heatmaps ? found[`stage_${i + 1}`] : undefined;
    const [, joints, height, width] = maps?.dims ?? [];
    return {
      maps: maps && { joints, height, width, values: maps.data },
      joints: of("keypoints"),
      scores: of("scores"),
      covariances: of("covariances"),
      confidences: of("confidences"),
    };
  });
}
