// How it gets there: what each stack says of one person, side by side, with heatmaps and corrections.

import { drawPeople, element, plain } from "./draw.js";
import { paintCrop, paintHeat } from "./heat.js";

const $ = (id) => document.getElementById(id);
const CROP_PX = 512;

// Each stack's joints; a network without stages has one.
export function stagesOf(person) {
  const answer = { stage: person.stages?.length ?? 1, score: person.score, joints: person.joints };
  return [...(person.stages ?? []).slice(0, -1), answer];
}

export function fillHeatChoice(skeleton) {
  const joints = skeleton.joints.map((name, i) => new Option(plain(name), i));
  $("heat").replaceChildren(new Option("none", ""), new Option("all joints", -1), ...joints);
}

function figureOf(number, count) {
  const figure = document.createElement("figure");
  figure.dataset.stack = number;
  const caption = document.createElement("figcaption");
  caption.textContent = count === 1 ? "The answer" : `Stack ${number}${number === count ? ", the answer" : ""}`;
  const view = Object.assign(document.createElement("div"), { className: "view" });
  const canvases = ["photo", "heat"].map((className) => {
    const canvas = Object.assign(document.createElement("canvas"), { className, width: CROP_PX, height: CROP_PX });
    canvas.setAttribute("aria-hidden", "true");
    return canvas;
  });
  view.append(...canvases, element("svg", { role: "img" }));
  figure.append(caption, view);
  return figure;
}

// `person` of the answer with its `id`; `scale` is how many pixels of the bitmap are one of the picture.
export function drawStacks({ person, bitmap, scale, skeleton, options }) {
  const stages = stagesOf(person);
  if ($("stacks").children.length !== stages.length) {
    $("stacks").replaceChildren(...stages.map((_, i) => figureOf(i + 1, stages.length)));
  }
  const [x, y, width, height] = person.box;
  const heat = $("heat").value === "" ? null : Number($("heat").value);
  const maps = person.heatmaps ?? [];
  $("heat").parentElement.hidden = !maps.length;
  for (const [index, figure] of [...$("stacks").children].entries()) {
    paintCrop(figure.querySelector(".photo"), bitmap, scale, person.box);
    const over = figure.querySelector(".heat");
    over.getContext("2d").clearRect(0, 0, CROP_PX, CROP_PX);
    if (maps[index] && heat !== null) paintHeat(over, maps[index], heat);
    const shown = { id: person.id, joints: stages[index].joints, before: stages[index - 1]?.joints, sidePx: width };
    const svg = figure.querySelector("svg");
    drawPeople(svg, [shown], skeleton, { x, y, width, height }, { ...options, bySide: true, names: false, points: false, moves: $("moves").checked });
    svg.setAttribute("aria-label", `${figure.firstChild.textContent}: ${svg.getAttribute("aria-label")}`);
  }
  $("summary").textContent = summary(stages, width);
  if ($("gallery-box").open) fillGallery(maps, bitmap, scale, person.box, skeleton);
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

function fillGallery(maps, bitmap, scale, box, skeleton) {
  const names = maps.length ? skeleton.joints : [];
  $("gallery").replaceChildren(...names.map((name, joint) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: plain(name) });
    button.setAttribute("aria-label", `${plain(name)}: lay its heatmap over the pictures`);
    const pair = Object.assign(document.createElement("span"), { className: "pair" });
    for (const stage of maps) {
      const canvas = Object.assign(document.createElement("canvas"), { width: 120, height: 120 });
      paintCrop(canvas, bitmap, scale, box);
      paintHeat(canvas, stage, joint);
      pair.append(canvas);
    }
    button.append(pair);
    button.addEventListener("click", () => {
      $("heat").value = String(joint);
      $("heat").dispatchEvent(new Event("change"));
      $("stacks").scrollIntoView({ block: "nearest" });
    });
    return button;
  }));
}
