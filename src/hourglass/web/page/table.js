// The same joints in numbers, for those who can't or won't look at the drawing.

import { plain } from "./view.js";

export function fillTable(table, stages, skeleton, shown, sidePx, redraw) {
  const focused = document.activeElement?.dataset?.toggle;
  table.replaceChildren(head(stages), body(stages, skeleton, shown, sidePx, redraw));
  // Filling it anew took the focus away.
  if (focused) table.querySelector(`[data-toggle="${CSS.escape(focused)}"]`)?.focus();
}

function cell(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function head(stages) {
  const caption = document.createElement("thead");
  const row = document.createElement("tr");
  row.append(cell("th", "Joint", { scope: "col" }));
  for (const [index, { stage }] of stages.entries()) {
    const name = stages.length > 1 ? `Stack ${stage} ` : "";
    for (const what of ["x", "y", "score"]) row.append(cell("th", `${name}${what}`, { scope: "col" }));
    if (index) row.append(cell("th", "moved", { scope: "col" }));
  }
  caption.append(row);
  return caption;
}

function body(stages, skeleton, shown, sidePx, redraw) {
  const rows = document.createElement("tbody");
  for (const name of stages.length ? skeleton.joints : []) {
    const row = document.createElement("tr");
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
    row.append(first);
    for (const [index, { joints }] of stages.entries()) {
      const { x, y, score } = joints[name];
      row.append(cell("td", x.toFixed(1)), cell("td", y.toFixed(1)), cell("td", score.toFixed(2)));
      if (index) {
        const old = stages[index - 1].joints[name];
        const px = Math.hypot(x - old.x, y - old.y);
        row.append(cell("td", `${px.toFixed(1)} px`, px > 0.02 * sidePx ? { class: "moved" } : {}));
      }
    }
    rows.append(row);
  }
  return rows;
}
