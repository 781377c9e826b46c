// People as SVG: limbs and joints over whatever lies below, in the picture's own pixels.

const SVG = "http://www.w3.org/2000/svg";
const DARK = "#12141c";
const SIDES = { left: "#389ef0", right: "#f07214", centre: "#f7e25a" };
const PEOPLE = ["#4cc2ff", "#ffb01f", "#5be08a", "#ff6ba9", "#b28dff", "#ffe45c", "#ff7a59", "#35e0d0"];

export function colourOfPerson(id) {
  return PEOPLE[id % PEOPLE.length];
}

export function plain(name) {
  return name.replaceAll("_", " ");
}

// How sure a joint is: the calibrated confidence where the weights have one, else the peak's height.
export function sureness({ score, confidence }) {
  return confidence ?? score;
}

export function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

// The side of each joint, as the package's own drawings have it.
function sidesOf(skeleton) {
  const found = Object.fromEntries(skeleton.joints.map((name) => [name, "centre"]));
  for (const [a, b] of skeleton.flip_pairs) {
    const swapped = /right/i.test(a) || /left/i.test(b) || /^r_/i.test(a);
    [found[a], found[b]] = swapped ? ["right", "left"] : ["left", "right"];
  }
  return found;
}

function limbSide(a, b) {
  if (a === b || b === "centre") return a;
  return a === "centre" ? b : "centre";
}

// Lines as wide as the person is large, and never too thin for the picture they lie on.
function lineWidth(joints, { x, y, width, height }) {
  const inside = (value, low, size) => Math.min(Math.max(value, low), low + size);
  const points = Object.values(joints);
  const xs = points.map((point) => inside(point.x, x, width));
  const ys = points.map((point) => inside(point.y, y, height));
  const extent = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  return Math.max(extent / 75, Math.max(width, height) / 400);
}

function moveOf(old, now, name, line) {
  const ends = { x1: old.x, y1: old.y, x2: now.x, y2: now.y, "stroke-dasharray": `${2 * line} ${2 * line}` };
  return [
    element("line", { ...ends, stroke: DARK, "stroke-width": 1.4 * line }),
    element("line", { ...ends, class: "move", "data-joint": name, stroke: "#fff", "stroke-width": 0.8 * line }),
    element("circle", { cx: old.x, cy: old.y, r: line, fill: "#fff", stroke: DARK, "stroke-width": 0.4 * line }),
  ];
}

export function jointText(name, joint, word) {
  const text = `${plain(name)}, ${word} ${Math.round(100 * sureness(joint))} %`;
  return joint.confidence === undefined ? text : `${text}, score ${joint.score.toFixed(2)}`;
}

// One person as a group. `frame` is the part of the picture that is seen: { x, y, width, height }.
// Options: `shown` joints, the least `confidence`, `bySide` or in the person's colour, `names`, `moves`,
// `word` for how sure a joint is, and `points`, whether joints can be focused.
export function personGroup({ id, joints, before, sidePx, dimmed }, skeleton, frame, options) {
  const { shown, confidence, bySide, names, moves, word, points } = options;
  const side = sidesOf(skeleton);
  const line = lineWidth(joints, frame);
  const colour = (at) => (bySide ? SIDES[at] : colourOfPerson(id));
  const known = (name) => sureness(joints[name]) >= confidence;
  const group = element("g", { "data-person": id, opacity: dimmed ? 0.45 : 1 });
  for (const [a, b] of skeleton.limbs.filter((limb) => limb.every((name) => shown.has(name)))) {
    const ends = { x1: joints[a].x, y1: joints[a].y, x2: joints[b].x, y2: joints[b].y, "stroke-linecap": "round" };
    const opacity = known(a) && known(b) ? 1 : 0.3;
    group.append(element("line", { ...ends, stroke: DARK, "stroke-width": line * 1.7, opacity: 0.75 * opacity }));
    group.append(element("line", { ...ends, stroke: colour(limbSide(side[a], side[b])), "stroke-width": line, opacity }));
  }
  for (const name of skeleton.joints.filter((joint) => shown.has(joint))) {
    const { x, y } = joints[name];
    const old = moves && before ? before[name] : null;
    if (old && Math.hypot(x - old.x, y - old.y) > 0.02 * sidePx) group.append(...moveOf(old, joints[name], name, line));
    const sure = known(name);
    const radius = 1.25 * line;
    const facts = { "data-joint": name, "data-person": id };
    const spot = element("circle", {
      class: "joint", ...facts, "data-sure": sure, cx: x, cy: y, r: radius,
      fill: sure ? colour(side[name]) : "none", stroke: sure ? "#fff" : colour(side[name]), "stroke-width": 0.45 * line,
    });
    if (points) {
      const who = points > 1 ? `person ${id + 1}, ` : "";
      for (const [key, value] of [["tabindex", -1], ["role", "img"], ["aria-label", who + jointText(name, joints[name], word)]]) spot.setAttribute(key, value);
    }
    group.append(element("circle", { cx: x, cy: y, r: radius + 0.45 * line, fill: sure ? DARK : "none", stroke: DARK, "stroke-width": 0.3 * line }));
    group.append(spot);
    if (points) group.append(element("circle", { class: "hit", ...facts, cx: x, cy: y, r: 3 * radius, fill: "transparent" }));
    if (names && sure) group.append(element("text", { x: x + 2 * radius, y: y + radius, "font-size": 3.6 * line, fill: "#fff", stroke: DARK, "stroke-width": 0.8 * line, "paint-order": "stroke", "font-family": "system-ui, sans-serif", "pointer-events": "none" }, plain(name)));
  }
  return group;
}

// Draw people anew, without losing the focus. The people: { id, joints, before?, sidePx, dimmed }.
export function drawPeople(svg, people, skeleton, frame, options) {
  const focused = svg.contains(document.activeElement) ? document.activeElement.dataset : null;
  // An integer is the middle of a pixel, so the picture begins half a pixel before 0.
  svg.setAttribute("viewBox", `${frame.x - 0.5} ${frame.y - 0.5} ${frame.width} ${frame.height}`);
  const points = options.points ? people.length : 0;
  svg.replaceChildren(...people.map((person) => personGroup(person, skeleton, frame, { ...options, points })));
  const joints = [...svg.querySelectorAll(".joint")];
  const sure = joints.filter(({ dataset }) => dataset.sure === "true").length;
  const who = people.length === 1 ? "1 person" : `${people.length} people`;
  svg.setAttribute("aria-label", `${who}, ${joints.length} joints, ${sure} of them above the ${options.word} that was set`);
  if (!options.points) return;
  const again = focused && joints.find(({ dataset }) => dataset.joint === focused.joint && dataset.person === focused.person);
  (again ?? joints[0])?.setAttribute("tabindex", 0);
  again?.focus({ preventScroll: true });
}
