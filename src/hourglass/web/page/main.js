// What the page knows, and what happens when something is touched.

import * as api from "./api.js";
import * as boxes from "./boxes.js";
import { colourOfPerson, drawPeople, plain, sureness } from "./draw.js";
import { listen } from "./inputs.js";
import * as live from "./live.js";
import { drawPlot, listenToPlot, markTime } from "./plot.js";
import { answerCsv, answerJson, drawingPng, framesCsv, framesJsonl, save } from "./save.js";
import { drawStacks, fillHeatChoice, stagesOf } from "./stacks.js";
import { fillTable } from "./table.js";
import { listenToTips, place as placeTip } from "./tip.js";
import * as video from "./video.js";
import { fit, listenToZoom } from "./zoom.js";

const $ = (id) => document.getElementById(id);
// `mode` is empty, picture, live or video. `people` are those on the picture, each with an `id`; `answer` is the last
// one whole, `frames` those of a video, `size` the picture's own pixels as answers count them.
const state = {
  mode: "empty", network: null, blob: null, name: "", bitmap: null, size: null, answer: null, people: [], frames: [],
  chosen: 0, shown: null, asking: null, fps: 10, calibrated: null, drawn: 0,
};

function say(text, bad = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
  say(`${error.message}.`, true);
}

async function meetNetworks() {
  try {
    const networks = await api.networks();
    $("network").replaceChildren(...networks.map(({ name }) => new Option(name, name)));
    $("network-label").hidden = networks.length < 2;
    $("key-form").hidden = true;
    await useNetwork(networks[0]);
    $("network").onchange = () => useNetwork(networks[$("network").selectedIndex]).catch(fail);
  } catch (error) {
    fail(error);
  }
}

// Answers of a network that was left no longer count.
async function useNetwork(network) {
  state.network = null;
  state.asking?.abort();
  video.halt();
  const wasLive = state.mode === "live";
  if (wasLive) live.stop();
  await api.load(network, (text) => {
    $("model").textContent = text;
  });
  state.network = network;
  const stacks = network.stages > 1 ? `${network.stages} stacks, ` : "";
  const name = $("network-label").hidden ? `${network.name}: ` : "";
  $("model").textContent = `${name}${stacks}${network.skeleton.joints.length} joints, squares of ${network.input_px} px, ${api.runsOn()}.`;
  if (state.mode === "picture") await ask();
  if (state.mode === "video") await readVideo();
  if (wasLive) goLive();
}

// Leave what is shown now; the picture itself stays where `mode` is picture.
function enter(mode) {
  state.asking?.abort();
  live.stop();
  video.close();
  state.mode = mode;
  document.body.className = mode;
  clearAnswer();
  state.frames = [];
  const moving = mode === "live" || mode === "video";
  for (const [id, seen] of [["drop", mode === "empty"], ["viewport", mode !== "empty"], ["photo", mode === "picture"], ["film", moving], ["live", mode === "live"], ["player", mode === "video"], ["rate", mode === "live"]]) $(id).hidden = !seen;
  $("film").classList.toggle("mirrored", mode === "live" && $("mirror").checked);
  $("save-json").textContent = mode === "video" ? "JSONL" : "JSON";
  $("camera-open").setAttribute("aria-pressed", String(mode === "live"));
  if (mode !== "picture") boxes.noPicture();
}

// Nothing of an older answer stays beside a message that there is none.
function clearAnswer() {
  Object.assign(state, { answer: null, people: [] });
  $("overlay").replaceChildren();
  for (const id of ["panel", "how-box"]) $(id).hidden = true;
  document.body.classList.remove("answered");
  placeTip();
}

function arrive(width, height) {
  state.size = { width, height };
  fit(width, height);
  $("stage").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

async function take(blob, name) {
  if (/^video\//.test(blob.type)) {
    await takeVideo(blob, name);
    return;
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    enter("empty");
    say(`${name} is no picture that this browser can read.`, true);
    return;
  }
  await takePicture(bitmap, await api.readable(blob, bitmap), name);
}

async function takePicture(bitmap, blob, name) {
  enter("picture");
  Object.assign(state, { blob, bitmap, name });
  const photo = $("photo");
  const scale = Math.min(1, 4096 / Math.max(bitmap.width, bitmap.height));
  photo.width = Math.max(1, Math.round(bitmap.width * scale));
  photo.height = Math.max(1, Math.round(bitmap.height * scale));
  photo.getContext("2d").drawImage(bitmap, 0, 0, photo.width, photo.height);
  arrive(bitmap.width, bitmap.height);
  boxes.newPicture(bitmap.width, bitmap.height);
  if (!state.network) say(`${name} waits for the network …`);
  await ask();
}

async function ask() {
  if (state.mode !== "picture" || !state.network) return;
  state.asking?.abort();
  const asking = new AbortController();
  state.asking = asking;
  say(`Looking at ${state.name} …`);
  const began = performance.now();
  try {
    const answer = await api.pose(state.blob, {
      network: state.network, boxes: boxes.boxesText(), flipTest: $("flip").checked,
      stages: state.network.heatmaps && $("how").getAttribute("aria-checked") === "true", signal: asking.signal,
    });
    if (asking.signal.aborted) return;
    const [{ width, height, people }] = answer.images;
    state.size = { width, height };
    show(answer, people.map((person, id) => ({ ...person, id })));
    say(`${state.name}, ${width} x ${height} px: ${countOf(people)} in ${Math.round(performance.now() - began)} ms.${guessed(people)}`);
  } catch (error) {
    if (asking.signal.aborted) return;
    clearAnswer();
    fail(error);
  }
}

function countOf({ length }) {
  if (!length) return "nobody found";
  return length === 1 ? "1 person" : `${length} people`;
}

// A finder that finds nobody leaves a guess: what the whole picture shows if it shows one person.
function guessed(people) {
  return people.some(({ guess }) => guess) ? " Nobody was found: this is what it shows if it shows one person." : "";
}

async function goLive(device) {
  if (!state.network) {
    say("The network isn't here yet.", true);
    return;
  }
  enter("live");
  say("Waiting for the camera …");
  try {
    await live.run({
      device,
      several: state.network.several,
      pose: (bitmap, options) => api.pose(bitmap, { ...options, network: state.network, flipTest: false, stages: false }),
      started: (width, height) => {
        arrive(width, height);
        say(`The camera is on: ${width} x ${height} px.`);
      },
      shown: (answer, people, rate) => {
        show(answer, people);
        $("rate").textContent = `${rate.toFixed(1)} frames/s, ${api.runsOn()}`;
      },
    });
  } catch (error) {
    enter("empty");
    say(/NotAllowed|NotFound|NotReadable|Overconstrained/.test(error.name) || !error.status ? `There is no camera: ${error.message}.` : `${error.message}.`, true);
  }
}

async function takeVideo(blob, name) {
  enter("video");
  Object.assign(state, { blob: null, name });
  say(`Opening ${name} …`);
  try {
    await video.open(blob);
  } catch {
    enter("empty");
    say(`${name} is no video that this browser can read.`, true);
    return;
  }
  const film = $("film");
  arrive(film.videoWidth, film.videoHeight);
  $("scrub").max = film.duration;
  await readVideo();
}

async function readVideo() {
  if (state.mode !== "video" || !state.network) return;
  Object.assign(state, { frames: [], fps: Number($("fps").value) });
  const frames = state.frames;
  const began = performance.now();
  try {
    const whole = await video.readAll({
      fps: state.fps,
      several: state.network.several,
      pose: (bitmap, options) => api.pose(bitmap, { ...options, network: state.network, flipTest: $("flip").checked, stages: false }),
      read: (frame, answer, share) => {
        frames.push(frame);
        $("video-progress").value = share;
        say(`Reading ${state.name}: ${Math.round(100 * share)} %, ${(frames.length / ((performance.now() - began) / 1000)).toFixed(1)} frames/s`);
        show(answer, frame.people);
        showTime();
        plot();
      },
    });
    if (!whole) return;
    await video.seek(0);
    showFrame();
    say(`${state.name}, ${state.size.width} x ${state.size.height} px: ${frames.length} frames read in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
  } catch (error) {
    clearAnswer();
    fail(error);
  }
}

function plot() {
  if (state.mode !== "video" || !$("plot-joint").value) return;
  drawPlot(state.frames, $("film").duration, $("plot-joint").value, $("plot-what").value, word());
  markTime($("film").currentTime);
}

function showTime() {
  const { currentTime: time, duration } = $("film");
  $("scrub").value = time;
  $("time").textContent = `${time.toFixed(1)} s`;
  $("scrub").setAttribute("aria-valuetext", `${time.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  markTime(time);
}

// The people of the frame that the film stands at.
function showFrame() {
  showTime();
  const frame = video.frameAt(state.frames, $("film").currentTime, state.fps);
  if (frame && frame.people !== state.people) {
    state.people = frame.people;
    draw();
  }
}

const word = () => (state.calibrated ? "confidence" : "score");

function show(answer, people) {
  const { skeleton } = answer;
  const first = Object.values(people[0]?.joints ?? {})[0];
  const calibrated = first ? first.confidence !== undefined : state.calibrated;
  if (state.shown?.of !== skeleton.joints.join()) {
    state.shown = Object.assign(new Set(skeleton.joints), { of: skeleton.joints.join() });
    fillHeatChoice(skeleton);
    $("plot-joint").replaceChildren(...skeleton.joints.map((name) => new Option(plain(name), name)));
  }
  if (first && calibrated !== state.calibrated) {
    state.calibrated = calibrated;
    // Half is where a confidence turns from more likely wrong to more likely right; heights know no such place.
    $("confidence").value = calibrated ? 0.5 : 0.3;
    $("confidence-value").textContent = Number($("confidence").value).toFixed(2);
    for (const id of ["confidence-word", "legend-word"]) $(id).textContent = id === "legend-word" ? word() : word().replace(/^./, (letter) => letter.toUpperCase());
    $("explained").textContent = calibrated
      ? "Confidence: how likely the joint is right, measured on people whose joints are known. Score: how high its heatmap peaks, which is no probability."
      : "Score: how high the joint's heatmap peaks, about 0 to 1. It is no probability; these weights were not calibrated.";
  }
  Object.assign(state, { answer, people });
  if (!people.some(({ id }) => id === state.chosen)) state.chosen = people[0]?.id ?? 0;
  for (const id of ["panel"]) $(id).hidden = false;
  $("how-box").hidden = state.mode !== "picture" || !people.length;
  document.body.classList.add("answered");
  draw();
}

function options() {
  return { shown: state.shown, confidence: Number($("confidence").value), word: word(), calibrated: state.calibrated };
}

function draw() {
  const { answer, people, chosen } = state;
  if (!answer) return;
  const { skeleton } = answer;
  const { width, height } = state.mode === "picture" ? state.size : { width: $("film").videoWidth, height: $("film").videoHeight };
  const turned = state.mode === "live" && $("mirror").checked;
  const placed = (joints) => (turned ? Object.fromEntries(Object.entries(joints).map(([name, joint]) => [name, { ...joint, x: width - 1 - joint.x }])) : joints);
  const choice = $("colours").value;
  const shown = people.map(({ id, joints, box }) => ({ id, joints: placed(joints), sidePx: box[2], dimmed: state.picked && people.length > 1 && id !== chosen }));
  drawPeople($("overlay"), shown, skeleton, { x: 0, y: 0, width, height }, {
    ...options(), bySide: choice === "side" || (choice === "auto" && people.length < 2), names: $("names").checked, moves: false, points: true,
  });
  placeTip();
  boxes.draw();
  // Numbers that change thirty times a second can't be read.
  if (state.mode === "live" && performance.now() - state.drawn < 250) return;
  state.drawn = performance.now();
  fillPeople();
  const person = people.find(({ id }) => id === chosen);
  fillTable($("joints"), person?.joints, skeleton, options(), draw);
  if (person && state.mode === "picture" && $("how").getAttribute("aria-checked") === "true") {
    drawStacks({ person, bitmap: state.bitmap, scale: state.bitmap.width / width, skeleton, options: options() });
  }
}

function fillPeople() {
  const { people, chosen } = state;
  $("who").textContent = people.length ? countOf(people) : "Nobody found";
  const kept = [...$("people").children];
  const same = kept.length === people.length && people.every(({ id }, i) => kept[i].dataset.person === String(id));
  if (!same) $("people").replaceChildren(...people.map(personButton));
  for (const [i, { id, joints }] of people.entries()) {
    const button = $("people").children[i];
    const rows = Object.values(joints);
    const sure = rows.filter((joint) => sureness(joint) >= Number($("confidence").value)).length;
    button.setAttribute("aria-pressed", String(id === chosen));
    button.lastChild.textContent = `Person ${id + 1}: ${sure} of ${rows.length} joints`;
  }
}

function personButton({ id }) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.dataset.person = id;
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  dot.setAttribute("viewBox", "0 0 12 12");
  dot.setAttribute("aria-hidden", "true");
  const disc = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [key, value] of Object.entries({ cx: 6, cy: 6, r: 6, fill: colourOfPerson(id) })) disc.setAttribute(key, value);
  dot.append(disc);
  button.append(dot, document.createElement("span"));
  button.addEventListener("click", () => {
    state.picked = state.chosen !== id || !state.picked;
    state.chosen = id;
    draw();
  });
  return button;
}

async function toggleHow() {
  const open = $("how").getAttribute("aria-checked") !== "true";
  $("how").setAttribute("aria-checked", String(open));
  $("result").hidden = !open;
  // The stacks' own answers are asked for when somebody wants to see them.
  if (open && state.people.length && !state.people[0].stages && state.network?.heatmaps) await ask();
  else draw();
}

function listenToControls() {
  $("confidence").addEventListener("input", () => {
    $("confidence-value").textContent = Number($("confidence").value).toFixed(2);
    draw();
  });
  for (const id of ["heat", "moves", "names", "colours"]) $(id).addEventListener("change", draw);
  for (const [id, all] of [["all-joints", true], ["no-joints", false]]) {
    $(id).addEventListener("click", () => {
      state.shown = Object.assign(new Set(all ? state.answer.skeleton.joints : []), { of: state.shown.of });
      draw();
    });
  }
  $("how").addEventListener("click", toggleHow);
  for (const [id, event] of [["flip", "change"], ["again", "click"]]) $(id).addEventListener(event, () => (state.mode === "video" ? readVideo() : ask()));
  $("gallery-box").addEventListener("toggle", draw);
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey($("key").value);
    meetNetworks();
  });
  $("camera-open").addEventListener("click", () => (state.mode === "live" ? leaveCamera() : goLive()));
  $("live-stop").addEventListener("click", leaveCamera);
  $("live-take").addEventListener("click", async () => {
    const bitmap = await live.frame();
    await takePicture(bitmap, await api.encoded(bitmap), "camera");
  });
  $("cameras").addEventListener("change", () => goLive($("cameras").value));
  $("mirror").addEventListener("change", () => {
    $("film").classList.toggle("mirrored", $("mirror").checked);
    draw();
  });
}

function leaveCamera() {
  enter("empty");
  say("The camera is off.");
  $("camera-open").focus();
}

function listenToPlayer() {
  const film = $("film");
  $("play").addEventListener("click", () => {
    video.halt();
    if (film.paused) film.play();
    else film.pause();
  });
  for (const name of ["play", "pause", "ended"]) {
    film.addEventListener(name, () => {
      $("play").textContent = film.paused ? "Play" : "Pause";
      if (!film.paused && state.mode === "video") requestAnimationFrame(playing);
    });
  }
  const go = async (time) => {
    video.halt();
    film.pause();
    await video.seek(Math.min(Math.max(time, 0), film.duration));
    showFrame();
  };
  $("scrub").addEventListener("input", () => go(Number($("scrub").value)));
  for (const [id, step] of [["frame-back", -1], ["frame-on", 1]]) {
    $(id).addEventListener("click", () => go((Math.floor(film.currentTime * state.fps + 0.02) + step + 0.01) / state.fps));
  }
  listenToPlot(go);
  $("read-video").addEventListener("click", readVideo);
  for (const id of ["plot-joint", "plot-what"]) $(id).addEventListener("change", plot);
}

function playing() {
  if (state.mode !== "video" || $("film").paused) return;
  showFrame();
  requestAnimationFrame(playing);
}

function listenToDownloads() {
  const stem = () => (state.name.replace(/\.[a-z0-9]+$/i, "").replace(/[^\w-]+/g, "_") || "pose");
  const film = () => state.mode === "video";
  $("save-json").addEventListener("click", () => (film()
    ? save(`${stem()}.jsonl`, framesJsonl(state.frames), "application/jsonl")
    : save(`${stem()}.json`, answerJson(state.answer), "application/json")));
  $("save-csv").addEventListener("click", () => save(`${stem()}.csv`, film() ? framesCsv(state.frames) : answerCsv(state.answer.images[0], stagesOf), "text/csv"));
  $("save-png").addEventListener("click", async () => {
    const { width, height } = state.mode === "picture" ? state.size : { width: $("film").videoWidth, height: $("film").videoHeight };
    save(`${stem()}.png`, await drawingPng(state.mode === "picture" ? state.bitmap : $("film"), $("overlay"), width, height), "image/png");
  });
}

listenToControls();
listenToPlayer();
listenToDownloads();
listenToZoom(() => {
  placeTip();
  boxes.draw();
});
listenToTips();
boxes.listenToBoxes(ask);
meetNetworks();
listen(take, say);
