// Boxes around people: drawn, moved, resized and deleted by pointer or keys; the text field has the same.

import { element } from "./draw.js";
import { pixelsOfScreen, placeOf } from "./zoom.js";

const $ = (id) => document.getElementById(id);
const SMALLEST = 4;
let picture = null; // { width, height }
let list = []; // [x, y, w, h] in pixels, counted from their edges
let text = null; // what was typed and is no list of boxes, for whoever answers to refuse
let fresh = false; // given since a picture was last asked about
let drag = null;
let changed = () => {};

// As the API takes them, or nothing.
export function boxesText() {
  fresh = false;
  return text ?? list.map((box) => box.map((value) => Number(value.toFixed(1))).join(",")).join(";");
}

// A new picture keeps boxes only if they were given since the last one was asked about.
export function newPicture(width, height) {
  picture = { width, height };
  if (!fresh) list = [];
  if (!fresh) text = null;
  draw();
}

// No picture is there to draw boxes on; those that were typed stay.
export function noPicture() {
  picture = null;
  draw();
}

function parse(typed) {
  const boxes = typed.split(";").filter((part) => part.trim()).map((part) => part.split(",").map((number) => (number.trim() ? Number(number) : NaN)));
  return boxes.every((box) => box.length === 4 && box.every(Number.isFinite) && box[2] > 0 && box[3] > 0) ? boxes : null;
}

function typed() {
  const value = $("box").value.trim();
  const boxes = parse(value);
  list = boxes ?? [];
  text = boxes ? null : value;
  fresh = true;
  draw();
}

const marking = () => $("mark").getAttribute("aria-pressed") === "true";

function touched(ask) {
  text = null;
  fresh = true;
  $("box").value = list.map((box) => box.map((value) => Math.round(10 * value) / 10).join(",")).join("; ");
  draw();
  if (ask) changed();
}

export function draw() {
  const svg = $("boxes");
  const focused = svg.contains(document.activeElement) ? document.activeElement.dataset.box : null;
  svg.replaceChildren();
  svg.classList.toggle("marking", marking());
  $("mark-add").hidden = !marking() || !picture;
  $("mark-clear").hidden = !marking() || !list.length;
  if (!picture) return;
  svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  const px = pixelsOfScreen();
  for (const [index, [x, y, width, height]] of list.entries()) {
    const frame = { x, y, width, height, "stroke-width": 2 * px };
    svg.append(element("rect", { ...frame, class: "under" }));
    const box = element("rect", { ...frame, class: "box", "data-box": index });
    if (marking()) {
      const says = `Box ${index + 1}: ${Math.round(width)} x ${Math.round(height)} px at ${Math.round(x)}, ${Math.round(y)}. Arrow keys move it, with Shift they resize it, Delete removes it.`;
      for (const [key, value] of [["tabindex", 0], ["role", "img"], ["aria-label", says]]) box.setAttribute(key, value);
    }
    svg.append(box);
    if (!marking()) continue;
    for (const [cx, cy, corner] of [[x, y, "nw"], [x + width, y, "ne"], [x, y + height, "sw"], [x + width, y + height, "se"]]) {
      svg.append(element("circle", { cx, cy, r: 7 * px, "stroke-width": 2 * px, class: `corner ${corner}`, "data-box": index, "data-corner": corner }));
    }
    const remove = element("g", { class: "remove", "data-box": index, "data-remove": true });
    const [mx, my] = [x + width - 18 * px, y + 18 * px];
    remove.append(element("circle", { cx: mx, cy: my, r: 11 * px, "data-box": index, "data-remove": true }));
    remove.append(element("path", { d: `M${mx - 4 * px} ${my - 4 * px}l${8 * px} ${8 * px}m0 ${-8 * px}l${-8 * px} ${8 * px}`, "stroke-width": 2 * px }));
    svg.append(remove);
  }
  if (focused !== null) svg.querySelector(`.box[data-box="${focused}"]`)?.focus({ preventScroll: true });
}

const between = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];

function begin(event) {
  if (!marking() || !picture || event.button) return;
  event.preventDefault();
  const { box, corner, remove } = event.target.closest("[data-box]")?.dataset ?? {};
  const at = placeOf(event);
  if (remove) {
    list.splice(Number(box), 1);
    touched(true);
    return;
  }
  if (box === undefined) {
    list.push([...at, 0, 0]);
    drag = { box: list.length - 1, fixed: at, made: true };
  } else {
    const [x, y, w, h] = list[box];
    const fixed = corner && [corner.includes("w") ? x + w : x, corner.includes("n") ? y + h : y];
    drag = { box: Number(box), fixed, from: at, before: [x, y, w, h] };
    $("boxes").querySelector(`.box[data-box="${box}"]`)?.focus({ preventScroll: true });
  }
  $("boxes").setPointerCapture(event.pointerId);
}

function inside([x, y, w, h]) {
  const within = (value, size, end) => Math.min(Math.max(value, 1 - size), end - 1);
  return [within(x, w, picture.width), within(y, h, picture.height), w, h];
}

function move(event) {
  if (!drag) return;
  const at = placeOf(event);
  const { box, fixed, from, before } = drag;
  list[box] = fixed ? between(fixed, at) : inside([before[0] + at[0] - from[0], before[1] + at[1] - from[1], before[2], before[3]]);
  draw();
}

function end() {
  if (!drag) return;
  const { box, made, before } = drag;
  drag = null;
  const [x, y, w, h] = list[box];
  const small = w < SMALLEST || h < SMALLEST;
  if (small) list.splice(box, 1, ...(made ? [] : [before]));
  const same = before && [x, y, w, h].every((value, i) => value === before[i]);
  touched(!small && !same);
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let waiting = 0;

function key(event) {
  const index = Number(event.target.dataset.box);
  const box = list[index];
  if (!marking() || !box) return;
  const step = STEPS[event.key];
  if (event.key === "Delete" || event.key === "Backspace") {
    list.splice(index, 1);
    touched(true);
    ($("boxes").querySelector(".box") ?? $("mark-add")).focus();
  } else if (step) {
    const size = Math.max(1, Math.max(picture.width, picture.height) / 100);
    const at = event.shiftKey ? 2 : 0;
    for (const axis of [0, 1]) box[at + axis] = Math.max(at ? SMALLEST : -Infinity, box[at + axis] + size * step[axis]);
    list[index] = inside(box);
    touched(false);
    clearTimeout(waiting);
    waiting = setTimeout(changed, 400); // asked once, after the last of several presses
  } else return;
  event.preventDefault();
}

// `ask` is called when boxes were changed and the picture is to be asked about again.
export function listenToBoxes(ask) {
  changed = ask;
  const svg = $("boxes");
  $("mark").addEventListener("click", () => {
    $("mark").setAttribute("aria-pressed", String(!marking()));
    draw();
  });
  $("mark-add").addEventListener("click", () => {
    const { width, height } = picture;
    list.push([width / 4, height / 10, width / 2, 0.8 * height]);
    touched(true);
    svg.querySelector(`.box[data-box="${list.length - 1}"]`).focus();
  });
  $("mark-clear").addEventListener("click", () => {
    list = [];
    touched(true);
    $("mark").focus();
  });
  $("box").addEventListener("input", typed);
  $("box").addEventListener("keydown", (event) => event.key === "Enter" && ask());
  svg.addEventListener("pointerdown", begin);
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("keydown", key);
}
