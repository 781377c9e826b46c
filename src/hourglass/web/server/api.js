// The server: what it has, and what it says of a picture.

const KINDS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];
let key = "";

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(text) {
  key = text;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "the server can't be reached");
  }
  let content = null;
  try {
    content = await response.json();
  } catch {
    throw new ServerError(response.status, `the server answered with status ${response.status}`);
  }
  if (!response.ok) throw new ServerError(response.status, content?.error?.message ?? "no answer");
  return content;
}

// What is told of each network; the first answers unless another is chosen.
export async function networks() {
  return (await ask("v1/models")).models;
}

// The server has its networks ready.
export async function load() {}

export function runsOn() {
  return "on the server";
}

// The answer for one picture, a file or a frame; with `stages` also those of all stages and their heatmaps.
export async function pose(picture, { network, boxes, flipTest, stages, signal }) {
  const query = new URLSearchParams({ model: network.name, flip_test: flipTest, stages, heatmaps: stages });
  if (boxes) query.set("boxes", boxes);
  const body = picture instanceof Blob ? picture : await encoded(picture, 0.85);
  const headers = { "Content-Type": body.type || "application/octet-stream" };
  const answer = await ask(`v1/pose?${query}`, { method: "POST", body, headers, signal });
  for (const person of answer.images.flatMap(({ people }) => people)) person.heatmaps = person.heatmaps?.map(unpack);
  return answer;
}

// One stage's maps from base64 bytes over low..high.
function unpack(packed) {
  const [joints, height, width] = packed.shape;
  const text = atob(packed.data);
  const scale = (packed.high - packed.low) / 255;
  const values = new Float32Array(text.length);
  for (let i = 0; i < text.length; i += 1) values[i] = packed.low + text.charCodeAt(i) * scale;
  return { joints, height, width, values };
}

// A bitmap as a file.
export function encoded(bitmap, quality = 0.95) {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
}

// A picture that the server can read: others, such as a phone's, are encoded anew by the browser.
export async function readable(blob, bitmap) {
  return KINDS.includes(blob.type) ? blob : encoded(bitmap);
}
