// A joint over time: one line for each person, a mark at the film's time; a click goes there.

import { colourOfPerson, element, plain, sureness } from "./draw.js";

const $ = (id) => document.getElementById(id);
const WIDTH = 600;
const HEIGHT = 120;
const LEFT = 44;
const VALUES = { x: ({ x }) => x, y: ({ y }) => y, sure: sureness };
let range = null; // [first, last] second that is drawn

function niceNumber(value, what) {
  return what === "sure" ? value.toFixed(1) : String(Math.round(value));
}

export function drawPlot(frames, duration, joint, what, word) {
  const svg = $("plot");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  range = [0, duration];
  const lines = new Map();
  for (const { time_s: time, people } of frames) {
    for (const { id, joints } of people) {
      if (!lines.has(id)) lines.set(id, []);
      lines.get(id).push([time, VALUES[what](joints[joint])]);
    }
  }
  const values = [...lines.values()].flat().map(([, value]) => value);
  let [low, high] = what === "sure" ? [0, 1] : [Math.min(...values), Math.max(...values)];
  if (!values.length) [low, high] = [0, 1];
  // A joint that trembles by a pixel should not look as one that moves.
  const least = what === "sure" ? 0 : 30;
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
  const x = (time) => LEFT + ((WIDTH - LEFT - 6) * time) / duration;
  // Pixels are counted downwards, in the picture and so in the plot.
  const share = (value) => (what === "y" ? (value - low) / (high - low) : (high - value) / (high - low));
  const y = (value) => 8 + (HEIGHT - 28) * share(value);
  const parts = [low, high].map((value) => element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, niceNumber(value, what)));
  for (const value of [low, high]) parts.push(element("line", { x1: LEFT, x2: WIDTH - 6, y1: y(value), y2: y(value), class: "grid" }));
  for (const [time, anchor] of [[0, "start"], [duration, "end"]]) parts.push(element("text", { x: x(time), y: HEIGHT - 4, "text-anchor": anchor }, `${time.toFixed(1)} s`));
  for (const [id, points] of lines) {
    const path = points.map(([time, value], i) => `${i ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const line = element("path", { d: path, class: "under" });
    parts.push(line, element("path", { d: path, class: "line", stroke: colourOfPerson(id), "data-person": id }));
  }
  parts.push(element("line", { class: "now", y1: 4, y2: HEIGHT - 18 }));
  svg.replaceChildren(...parts);
  const unit = what === "sure" ? word : `${what} in pixels`;
  svg.setAttribute("aria-label", values.length ? `${plain(joint)}, ${unit}, from ${niceNumber(low, what)} to ${niceNumber(high, what)} over ${frames.length} frames` : "Nothing read yet");
}

export function markTime(time) {
  const now = $("plot").querySelector(".now");
  if (!now || !range) return;
  const x = LEFT + ((WIDTH - LEFT - 6) * time) / range[1];
  now.setAttribute("x1", x);
  now.setAttribute("x2", x);
}

// `go(time)` is called with the second that was clicked.
export function listenToPlot(go) {
  const at = (event) => {
    const { left, width } = $("plot").getBoundingClientRect();
    const x = ((event.clientX - left) / width) * WIDTH;
    if (range) go(Math.min(Math.max((x - LEFT) / (WIDTH - LEFT - 6), 0), 1) * range[1]);
  };
  $("plot").addEventListener("pointerdown", at);
  $("plot").addEventListener("pointermove", (event) => event.buttons && at(event));
}
