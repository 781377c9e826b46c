// A video file: read frame by frame at a chosen rate, then played and scrubbed with its joints.

import { Follower } from "./follow.js";

const $ = (id) => document.getElementById(id);
let address = "";
let asking = null;

// Open the file; raises where the browser can't. The film's size and length are known afterwards.
export async function open(blob) {
  close();
  const film = $("film");
  address = URL.createObjectURL(blob);
  const loaded = new Promise((resolve, reject) => {
    film.addEventListener("loadeddata", resolve, { once: true });
    film.addEventListener("error", () => reject(new Error("no video that this browser can read")), { once: true });
  });
  film.src = address;
  await loaded;
  if (!Number.isFinite(film.duration)) await measure(film);
  if (!film.videoWidth || !(film.duration > 0)) throw new Error("no video that this browser can read");
}

// A recording of a browser's own doesn't say how long it is before its end was sought.
async function measure(film) {
  await seek(1e9);
  for (let tries = 0; !Number.isFinite(film.duration) && tries < 50; tries += 1) await new Promise((next) => setTimeout(next, 40));
  await seek(0);
}

export function close() {
  asking?.abort();
  asking = null;
  const film = $("film");
  film.pause();
  if (!address) return;
  film.removeAttribute("src");
  film.load();
  URL.revokeObjectURL(address);
  address = "";
}

export function halt() {
  asking?.abort();
  asking = null;
}

export async function seek(time) {
  const film = $("film");
  if (Math.abs(film.currentTime - time) < 1e-4 && !film.seeking) return;
  const there = new Promise((done) => film.addEventListener("seeked", done, { once: true }));
  film.currentTime = time;
  await there;
}

// Read the film from its start: `read(frame, answer)` gets { frame, time_s, people } as each is answered.
// True when it was read to its end.
export async function readAll({ fps, several, pose, read }) {
  halt();
  const mine = new AbortController();
  asking = mine;
  const film = $("film");
  film.pause();
  const follower = new Follower(several);
  const count = Math.max(1, Math.floor(film.duration * fps + 1e-6));
  for (let frame = 0; frame < count; frame += 1) {
    // A little behind its start, so that rounding never shows the frame before.
    const time = Math.min((frame + 0.01) / fps, film.duration);
    await seek(time);
    if (mine.signal.aborted) return false;
    let answer;
    try {
      answer = await pose(await createImageBitmap(film), { boxes: follower.boxes((1000 * frame) / fps), signal: mine.signal });
    } catch (error) {
      if (mine.signal.aborted) return false;
      throw error;
    }
    if (mine.signal.aborted) return false;
    const [image] = answer.images;
    read({ frame, time_s: Math.round((1e4 * frame) / fps) / 1e4, people: follower.follow(image.people, image) }, answer, (frame + 1) / count);
  }
  return true;
}

// The frame that was read last before this time, or nothing.
export function frameAt(frames, time, fps) {
  const index = Math.min(Math.floor(time * fps + 0.01), frames.length - 1);
  return frames[Math.max(0, index)];
}
