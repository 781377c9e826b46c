// Joints on the picture: drawn, chosen, dragged and placed with a pointer.

import { element, personGroup, plain } from "./draw.js";
import { pixelsOfScreen, placeOf } from "./zoom.js";
import { wordOf } from "./panel.js";

const $ = (id) => document.getElementById(id);
const REACH_PX = 16; // of the screen
const STILL_PX = 3;
let drag = null;

// An integer is the middle of a pixel, so the picture begins half a pixel before 0.
const at = (event) => placeOf(event).map((value) => value - 0.5);

export function draw(skeleton, book, chosen) {
  const svg = $("overlay");
  const focused = svg.contains(document.activeElement);
  const frame = { x: 0, y: 0, width: book.width, height: book.height };
  svg.setAttribute("viewBox", `-0.5 -0.5 ${book.width} ${book.height}`);
  svg.replaceChildren(...book.people.map((person, id) => {
    const joints = Object.fromEntries(Object.entries(person.joints).map(([name, joint]) => [name, { ...joint, score: joint.guess ? 0 : 1 }]));
    const options = { shown: new Set(Object.keys(joints)), confidence: 0.5, bySide: book.people.length === 1, names: false, moves: false, word: "", points: 1 };
    const group = personGroup({ id, joints, dimmed: id !== chosen.person }, skeleton, frame, options);
    for (const spot of group.querySelectorAll(".joint")) {
      const { joint: name } = spot.dataset;
      const { x, y } = person.joints[name];
      const mine = id === chosen.person && name === chosen.joint;
      spot.setAttribute("tabindex", mine ? 0 : -1);
      spot.setAttribute("aria-label", `Person ${id + 1}, ${plain(name)}, ${wordOf(person.joints[name])}, at ${Math.round(x)}, ${Math.round(y)}`);
      const radius = Number(spot.getAttribute("r"));
      if (person.joints[name].v === 1) group.append(element("circle", { class: "hidden", cx: x, cy: y, r: 1.7 * radius }));
      if (mine) group.append(element("circle", { class: "chosen", cx: x, cy: y, r: 2.6 * radius }));
    }
    return group;
  }));
  svg.classList.toggle("placing", isPlacing(book, chosen));
  if (focused) focusChosen();
}

export function focusChosen() {
  ($("overlay").querySelector(".joint[tabindex='0']") ?? $("stage")).focus({ preventScroll: true });
}

function isPlacing(book, chosen) {
  const person = book.people[chosen.person];
  return Boolean(person && chosen.joint && !person.joints[chosen.joint]);
}

// The joint next to a place, the chosen person's first.
function nearest(book, chosen, [x, y]) {
  const found = book.people.flatMap(({ joints }, person) => Object.entries(joints).map(([joint, point]) => {
    return { person, joint, apart: Math.hypot(point.x - x, point.y - y) * (person === chosen.person ? 0.5 : 1) };
  }));
  found.sort((a, b) => a.apart - b.apart);
  return found[0]?.apart <= REACH_PX * pixelsOfScreen() ? found[0] : null;
}

// `editor` has `book`, `chosen`, `choose(person, joint)`, `moving(x, y)`, `done(before)`, `place(x, y)`, `clicked()`, `copy()`.
export function listenToPointer(editor) {
  const svg = $("overlay");
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || drag || !editor.book()) return;
    const spot = at(event);
    const joint = nearest(editor.book(), editor.chosen(), spot);
    const placing = isPlacing(editor.book(), editor.chosen());
    if (!joint && !placing) return;
    event.preventDefault();
    if (joint && !placing) {
      event.stopPropagation(); // else the picture would move along
      editor.choose(joint.person, joint.joint);
      focusChosen();
    }
    const point = joint && editor.book().people[joint.person].joints[joint.joint];
    drag = { id: event.pointerId, from: [event.clientX, event.clientY], grip: point ? [point.x - spot[0], point.y - spot[1]] : null, placing, before: null };
    if (!placing) svg.setPointerCapture(event.pointerId);
  });
  // Where the picture is zoomed, the viewport takes the pointer to move it.
  $("viewport").addEventListener("pointermove", (event) => {
    if (drag?.id !== event.pointerId) return;
    const far = Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) > STILL_PX;
    if (drag.placing) {
      if (far) drag = null; // the zoomed picture is moved
      return;
    }
    if (!drag.before && !far) return;
    drag.before ??= editor.copy();
    const [x, y] = at(event);
    editor.moving(x + drag.grip[0], y + drag.grip[1]);
  });
  const end = (event) => {
    if (drag?.id !== event.pointerId) return;
    const { placing, before } = drag;
    drag = null;
    if (placing && event.type === "pointerup") editor.place(...at(event));
    else if (before) editor.done(before);
    else if (!placing) editor.clicked();
  };
  for (const name of ["pointerup", "pointercancel"]) $("viewport").addEventListener(name, end);
  svg.addEventListener("dblclick", (event) => event.stopPropagation());
}
