// One person's joints in numbers, for those who can't or won't look at the drawing.

import { plain, sureness } from "./draw.js";

function cell(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// `calibrated`: joints have a confidence, beside which the score stands by itself; else the score is all there is.
export function fillTable(table, joints, skeleton, { shown, confidence, calibrated }, redraw) {
  const focused = document.activeElement?.dataset?.toggle;
  const head = document.createElement("thead");
  const titles = document.createElement("tr");
  for (const title of ["Joint", ...(calibrated ? ["Confidence"] : []), "Score", "x", "y"]) titles.append(cell("th", title, { scope: "col" }));
  head.append(titles);
  const body = document.createElement("tbody");
  for (const name of joints ? skeleton.joints : []) body.append(row(name, joints[name], { shown, confidence, calibrated }, redraw));
  table.replaceChildren(head, body);
  // Filling it anew took the focus away.
  if (focused) table.querySelector(`[data-toggle="${CSS.escape(focused)}"]`)?.focus();
}

function row(name, joint, { shown, confidence, calibrated }, redraw) {
  const made = document.createElement("tr");
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: shown.has(name) });
  box.dataset.toggle = name;
  box.addEventListener("change", () => {
    if (box.checked) shown.add(name);
    else shown.delete(name);
    redraw();
  });
  label.append(box, ` ${plain(name)}`);
  const first = cell("th", "", { scope: "row" });
  first.append(label);
  made.append(first);
  const sure = sureness(joint);
  if (sure < confidence) made.className = "unsure";
  const [main, ...rest] = calibrated ? [sure.toFixed(2), joint.score.toFixed(2)] : [joint.score.toFixed(2)];
  const measured = cell("td", main);
  const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: Math.min(1, Math.max(0, sure)) });
  meter.setAttribute("aria-hidden", "true"); // the number stands beside it
  measured.prepend(meter);
  made.append(measured, ...rest.map((text) => cell("td", text)), cell("td", joint.x.toFixed(1)), cell("td", joint.y.toFixed(1)));
  return made;
}
