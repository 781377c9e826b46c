// A worker: it fetches the network and what runs it, and answers pictures one after the other.

import * as ort from "../runtime/ort.js";
import { answerOf } from "./answer.js";
import { findPerson, squaresOf } from "./person.js";
import { cutOut, readPicture } from "./picture.js";

const MOST_THREADS = 4;
let network = null; // { facts, model, readings: [plain, with a flip test] }
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

async function load({ id, facts, here }) {
  const names = Object.keys(facts.files);
  const sizes = { ...facts.files, ...facts.runtime };
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let done = 0;
  const tell = (bytes) => {
    done += bytes;
    self.postMessage({ id, told: Math.min(1, done / total) });
  };
  const binary = Object.keys(facts.runtime).find((name) => name.endsWith(".wasm"));
  const [wasm, ...graphs] = await Promise.all([binary, ...names].map((name) => fetched(name, here, tell)));
  ort.env.wasm.wasmBinary = wasm.buffer;
  // Threads share memory, which a browser allows only to pages that their host isolates.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  const sessions = [];
  try {
    for (const graph of graphs) sessions.push(await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] }));
  } catch (error) {
    throw new Error(`this browser can't run the network (${String(error.message ?? error).split("\n")[0]})`);
  }
  const [model, ...readings] = sessions;
  network = { facts, model, readings };
}

async function fetched(name, here, tell) {
  const response = await fetch(new URL(name, here)).catch(() => null);
  if (!response?.ok) throw new Error(`${name} can't be fetched from where this page came from`);
  const parts = [];
  const reader = response.body.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    parts.push(value);
    tell(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function answer({ id, blob, boxes, flipTest }) {
  const { facts } = network;
  const picture = await readPicture(blob);
  const { squares, refine } = squaresOf(boxes, picture, facts);
  const people = [];
  for (const square of squares) {
    people.push(await findPerson(square, refine, (next) => look(id, picture, next, flipTest), facts));
  }
  return answerOf(facts, picture, people);
}

// What each stage says of one square of the picture.
async function look(id, picture, square, flipTest) {
  // Lets messages in, of which a newer picture's is one.
  await new Promise((next) => setTimeout(next));
  if (id !== latest) throw new Error("another picture came");
  const { facts, model, readings } = network;
  const size = facts.input_px;
  const crop = cutOut(picture, square, size);
  const views = flipTest ? [crop, mirrored(crop, size)] : [crop];
  const data = new Uint8Array(views.length * crop.length);
  views.forEach((view, i) => data.set(view, i * crop.length));
  const raw = await model.run({ image: new ort.Tensor("uint8", data, [views.length, 3, size, size]) });
  const read = await readings[flipTest ? 1 : 0].run(raw);
  const stages = Object.keys(read).filter((name) => name.startsWith("joints_")).length;
  return Array.from({ length: stages }, (_, i) => {
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
