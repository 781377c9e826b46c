// What the page knows, and what happens when something is touched.

import * as api from "./api.js";
import { paint, paintCrop } from "./heat.js";
import { listen } from "./inputs.js";
import { listenToMarks } from "./mark.js";
import { answerCsv, answerJson, save } from "./save.js";
import { fillTable } from "./table.js";
import { plain, StackView } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = { network: null, blob: null, name: "", bitmap: null, answer: null, maps: [], views: [], person: 0, shown: new Set(), asking: null };

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// Each stack's joints; a network without stages has one.
function stagesOf(person) {
  const answer = { stage: person.stages?.length ?? 1, score: person.score, joints: person.joints };
  return [...(person.stages ?? []).slice(0, -1), answer];
}

async function meetNetwork() {
  try {
    const network = await api.model((text) => {
      $("model").textContent = text;
    });
    state.network = network;
    $("key-form").hidden = true;
    const stacks = network.stages > 1 ? `${network.stages} stacks, ` : "";
    $("model").textContent = `${network.name}: ${stacks}${network.skeleton.joints.length} joints, looks at squares of ${network.input_px} px.`;
    if (state.blob) await ask();
  } catch (error) {
    if (error.status === 401) {
      $("key-form").hidden = false;
      $("key").focus();
    }
    say(`${error.message}.`, true);
  }
}

async function take(blob, name) {
  try {
    state.bitmap = await createImageBitmap(blob);
  } catch {
    say(`${name} is no picture that this browser can read.`, true);
    return;
  }
  Object.assign(state, { blob: await api.readable(blob, state.bitmap), name });
  $("box").value = "";
  if (!state.network) say(`${name} waits for the network …`);
  await ask();
}

async function ask() {
  if (!state.blob || !state.network) return;
  state.asking?.abort();
  const asking = new AbortController();
  state.asking = asking;
  say(`Looking at ${state.name} …`);
  const began = performance.now();
  try {
    const boxes = $("box").value.trim();
    const options = { boxes, flipTest: $("flip").checked, stages: state.network.heatmaps, signal: asking.signal };
    const answer = await api.pose(state.blob, options);
    if (asking.signal.aborted) return;
    show(answer);
    const { width, height, people } = answer.images[0];
    const who = people.length === 1 ? "1 person" : `${people.length} people`;
    say(`${state.name}, ${width} x ${height} px: ${who} in ${Math.round(performance.now() - began)} ms.`);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) $("key-form").hidden = false;
    say(`${error.message}.`, true);
  }
}

function show(answer) {
  const skeleton = answer.skeleton;
  const [image] = answer.images;
  const fresh = state.answer === null;
  Object.assign(state, { answer, person: Math.min(state.person, Math.max(0, image.people.length - 1)) });
  state.maps = image.people.map((person) => person.heatmaps ?? []);
  if (fresh) {
    state.shown = new Set(skeleton.joints);
    // Half is where a confidence turns from more likely wrong to more likely right; heights know no such place.
    const calibrated = image.people.some(({ joints }) => Object.values(joints)[0].confidence !== undefined);
    $("confidence").value = calibrated ? 0.5 : 0.3;
    $("confidence-value").textContent = Number($("confidence").value).toFixed(2);
    fillHeatChoice(skeleton);
  }
  const stages = image.people.length ? stagesOf(image.people[0]).length : 1;
  if (state.views.length !== stages) makeViews(stages);
  for (const view of state.views) view.showPicture(state.bitmap, image.width, image.height);
  $("person").replaceChildren(...image.people.map((_, i) => new Option(String(i + 1), i, false, i === state.person)));
  $("person-label").hidden = image.people.length < 2;
  $("result").hidden = false;
  draw();
}

function makeViews(count) {
  const caption = (number) => (count === 1 ? "The answer" : `Stack ${number}${number === count ? ", the answer" : ""}`);
  state.views = Array.from({ length: count }, (_, i) => new StackView(i + 1, caption(i + 1)));
  $("stacks").replaceChildren(...state.views.map(({ figure }) => figure));
  const boxes = state.views.map((view) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, id: `stack-${view.number}` });
    box.addEventListener("change", () => {
      view.figure.hidden = !box.checked;
    });
    label.append(box, ` ${view.number}`);
    return label;
  });
  $("stack-choice").replaceChildren($("stack-choice").firstElementChild, ...boxes);
  $("stack-choice").hidden = count < 2;
}

function fillHeatChoice(skeleton) {
  const joints = skeleton.joints.map((name, i) => new Option(plain(name), i));
  $("heat").replaceChildren(new Option("none", ""), new Option("all joints", -1), ...joints);
}

function draw() {
  const { answer, views, shown } = state;
  const [image] = answer.images;
  const skeleton = answer.skeleton;
  const options = { shown, confidence: Number($("confidence").value), moves: $("moves").checked };
  const heat = $("heat").value === "" ? null : Number($("heat").value);
  $("heat").parentElement.hidden = !state.maps.some((maps) => maps.length);
  for (const [index, view] of views.entries()) {
    const people = image.people.map((person) => {
      const stages = stagesOf(person);
      return { joints: stages[index].joints, before: stages[index - 1]?.joints, side_px: person.box[2] };
    });
    view.showPeople(people, skeleton, options);
    const box = image.people[state.person]?.box;
    paint(view.heat, state.maps[state.person]?.[index], heat, box, image.width);
  }
  const person = image.people[state.person];
  $("summary").textContent = person ? summary(stagesOf(person), person.box[2]) : "Nobody was asked for.";
  fillTable($("joints"), person ? stagesOf(person) : [], skeleton, shown, person?.box[2] ?? 1, draw);
  if ($("gallery-box").open) fillGallery();
}

// What the last stack made of the one before.
function summary(stages, sidePx) {
  const last = stages.at(-1);
  const mean = `Mean score ${last.score.toFixed(2)}`;
  if (stages.length < 2) return `${mean}.`;
  const before = stages.at(-2).joints;
  const moved = Object.entries(last.joints)
    .map(([name, { x, y }]) => ({ name, px: Math.hypot(x - before[name].x, y - before[name].y) }))
    .filter(({ px }) => px > 0.02 * sidePx)
    .sort((a, b) => b.px - a.px);
  const who = `Stack ${stages.length}`;
  if (!moved.length) return `${who} leaves every joint where stack ${stages.length - 1} put it. ${mean}.`;
  const [{ name, px }] = moved;
  const count = moved.length === 1 ? "1 joint" : `${moved.length} joints`;
  return `${who} moves ${count}, the ${plain(name)} farthest: ${Math.round(px)} px. ${mean}, before ${stages.at(-2).score.toFixed(2)}.`;
}

function fillGallery() {
  const { answer, maps, person, bitmap } = state;
  const [image] = answer.images;
  const box = image.people[person]?.box;
  const scale = bitmap.width / image.width;
  const joints = maps[person]?.length ? answer.skeleton.joints : [];
  $("gallery").replaceChildren(...joints.map((name, joint) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: plain(name) });
    button.setAttribute("aria-label", `Lay the heatmap of the ${plain(name)} over the pictures`);
    const pair = Object.assign(document.createElement("span"), { className: "pair" });
    for (const stage of maps[person]) {
      const canvas = Object.assign(document.createElement("canvas"), { width: 120, height: 120 });
      paintCrop(canvas, bitmap, scale, stage, joint, box);
      pair.append(canvas);
    }
    button.append(pair);
    button.addEventListener("click", () => {
      $("heat").value = joint;
      draw();
      $("stacks").scrollIntoView({ block: "nearest" });
    });
    return button;
  }));
}

function listenToControls() {
  $("confidence").addEventListener("input", () => {
    $("confidence-value").textContent = Number($("confidence").value).toFixed(2);
    draw();
  });
  for (const id of ["heat", "moves"]) $(id).addEventListener("change", draw);
  $("person").addEventListener("change", () => {
    state.person = Number($("person").value);
    draw();
  });
  for (const [id, all] of [["all-joints", true], ["no-joints", false]]) {
    $(id).addEventListener("click", () => {
      state.shown = new Set(all ? state.answer.skeleton.joints : []);
      draw();
    });
  }
  for (const id of ["flip", "again"]) $(id).addEventListener(id === "flip" ? "change" : "click", ask);
  $("box").addEventListener("keydown", (event) => event.key === "Enter" && ask());
  $("gallery-box").addEventListener("toggle", () => $("gallery-box").open && fillGallery());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey($("key").value);
    meetNetwork();
  });
  const stem = () => (state.name.replace(/\.[a-z]+$/i, "").replace(/[^\w-]+/g, "_") || "pose");
  $("save-json").addEventListener("click", () => save(`${stem()}.json`, answerJson(state.answer), "application/json"));
  $("save-csv").addEventListener("click", () => save(`${stem()}.csv`, answerCsv(state.answer.images[0], stagesOf), "text/csv"));
  $("save-png").addEventListener("click", async () => {
    const seen = state.views.filter(({ figure }) => !figure.hidden);
    const view = seen.at(-1) ?? state.views.at(-1);
    save(`${stem()}.png`, await view.png(state.bitmap), "image/png");
  });
}

listenToControls();
listen(take, say);
listenToMarks(() => state, ask);
meetNetwork();
