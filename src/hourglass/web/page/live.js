// The camera, frame after frame: one is in work at a time, and the next is the newest there is.

import { Follower } from "./follow.js";

const $ = (id) => document.getElementById(id);
const LARGEST_PX = 640;
let stream = null;
let asking = null;

async function open(device) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("the browser gives a camera only to https pages and to this machine's own");
  }
  const video = { width: { ideal: 1280 }, ...(device ? { deviceId: { exact: device } } : { facingMode: "user" }) };
  stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  $("film").srcObject = stream;
  await $("film").play();
}

async function fillCameras() {
  const found = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const used = stream?.getVideoTracks()[0]?.getSettings().deviceId;
  $("cameras").replaceChildren(...found.map(({ deviceId, label }, i) => new Option(label || `Camera ${i + 1}`, deviceId, false, deviceId === used)));
  $("camera-label").hidden = found.length < 2;
}

export function stop() {
  asking?.abort();
  asking = null;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  if ($("film").srcObject) $("film").srcObject = null;
}

// What the camera sees now, whole.
export function frame() {
  return createImageBitmap($("film"));
}

function small(film) {
  const scale = Math.min(1, LARGEST_PX / Math.max(film.videoWidth, film.videoHeight));
  return createImageBitmap(film, { resizeWidth: Math.round(film.videoWidth * scale), resizeHeight: Math.round(film.videoHeight * scale), resizeQuality: "medium" });
}

// The same answer in the pixels of the whole frame.
function enlarged({ people, width }, full) {
  const scale = full / width;
  const moved = (joint) => ({ ...joint, x: (joint.x + 0.5) * scale - 0.5, y: (joint.y + 0.5) * scale - 0.5 });
  return people.map((person) => ({
    ...person,
    box: person.box.map((value) => value * scale),
    joints: Object.fromEntries(Object.entries(person.joints).map(([name, joint]) => [name, moved(joint)])),
  }));
}

// Until `stop`: `pose(bitmap, { boxes, signal })` answers, `shown(answer, people, rate)` gets the answers, `rate`
// frames a second. Raises where there is no camera or no answer.
export async function run({ device, several, pose, started, shown }) {
  stop();
  const mine = new AbortController();
  asking = mine;
  await open(device);
  if (mine.signal.aborted) return;
  await fillCameras();
  const film = $("film");
  started(film.videoWidth, film.videoHeight);
  const follower = new Follower(several);
  const times = [];
  let last = -1;
  while (!mine.signal.aborted) {
    // A camera slower than the network shows no frame twice.
    if (film.currentTime === last || document.hidden) {
      await new Promise((next) => setTimeout(next, 8));
      continue;
    }
    last = film.currentTime;
    const now = performance.now();
    let answer;
    try {
      answer = await pose(await small(film), { boxes: follower.boxes(now), signal: mine.signal });
    } catch (error) {
      if (mine.signal.aborted) return;
      throw error;
    }
    if (mine.signal.aborted) return;
    const [image] = answer.images;
    // Without a finder every frame is taken to show somebody: an empty room doesn't.
    const people = follower.follow(image.people, image).filter(({ sure }) => sure);
    times.push(performance.now());
    while (times.length > 30 || (times.length > 2 && times.at(-1) - times[0] > 2000)) times.shift();
    const rate = times.length > 1 ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : 0;
    shown(answer, enlarged({ people, width: image.width }, film.videoWidth), rate);
  }
}
