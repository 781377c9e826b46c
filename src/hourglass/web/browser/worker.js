// A worker: it fetches the network and what runs it, and answers pictures one after the other.

import * as ort from "../runtime/ort.js";
import { answerOf } from "./answer.js";
import { findPerson, squaresOf } from "./person.js";
import { cutOut, readPicture } from "./picture.js";

const MOST_THREADS = 4;
let network = null; // { facts, model }
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
  const [name] = Object.keys(facts.files);
  const sizes = { ...facts.files, ...facts.runtime };
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let done = 0;
  const tell = (bytes) => {
    done += bytes;
    self.postMessage({ id, told: Math.min(1, done / total) });
  };
  const binary = Object.keys(facts.runtime).find((name) => name.endsWith(".wasm"));
  const [wasm, graph] = await Promise.all([binary, name].map((each) => fetched(each, here, tell)));
  ort.env.wasm.wasmBinary = wasm.buffer;
  // Threads share memory, which a browser allows only to pages that their host isolates.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  try {
    network = { facts, model: await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] }) };
  } catch (error) {
    throw new Error(`this browser can't run the network (${String(error.message ?? error).split("\n")[0]})`);
  }
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
  const { facts, model } = network;
  const size = facts.input_px;
  const found = await model.run({
    image: new ort.Tensor("uint8", cutOut(picture, square, size), [1, 3, size, size]),
    flip_test: new ort.Tensor("bool", [Boolean(flipTest)], []),
  });
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
