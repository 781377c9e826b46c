// A person's box, drawn with the pointer; the text field does the same from the keyboard.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

export function listenToMarks(getState, ask) {
  let start = null;
  let shape = null;
  const marking = () => $("mark").getAttribute("aria-pressed") === "true";
  const viewOf = (event) => getState().views.find(({ view }) => view.contains(event.target));
  const place = (event, { view, width, height }) => {
    const { left, top, width: w, height: h } = view.getBoundingClientRect();
    const inside = (value, end) => Math.min(Math.max(value, 0), end);
    return [inside(((event.clientX - left) / w) * width, width), inside(((event.clientY - top) / h) * height, height)];
  };
  $("mark").addEventListener("click", () => {
    $("mark").setAttribute("aria-pressed", String(!marking()));
    for (const { view } of getState().views) view.classList.toggle("marking", marking());
  });
  $("stacks").addEventListener("pointerdown", (event) => {
    const view = marking() && viewOf(event);
    if (!view) return;
    event.preventDefault();
    start = { view, from: place(event, view) };
    shape = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ fill: "none", stroke: "#fff", "stroke-width": view.width / 200, "stroke-dasharray": view.width / 60 })) shape.setAttribute(key, value);
    view.svg.append(shape);
    view.view.setPointerCapture(event.pointerId);
  });
  const boxOf = (event) => {
    const [x0, y0] = start.from;
    const [x1, y1] = place(event, start.view);
    return [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
  };
  $("stacks").addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y, w, h] = boxOf(event);
    // The drawing counts from the middle of the first pixel, a box from its edge.
    for (const [key, value] of Object.entries({ x: x - 0.5, y: y - 0.5, width: w, height: h })) shape.setAttribute(key, value);
  });
  $("stacks").addEventListener("pointerup", (event) => {
    if (!start) return;
    const box = boxOf(event);
    shape.remove();
    start = null;
    if (box[2] < 4 || box[3] < 4) return;
    const text = box.map((value) => value.toFixed(1)).join(",");
    $("box").value = [$("box").value.trim(), text].filter(Boolean).join(";");
    ask();
  });
  $("stacks").addEventListener("pointercancel", () => {
    shape?.remove();
    start = null;
  });
}
