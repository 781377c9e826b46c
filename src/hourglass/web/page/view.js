// One stack's picture: the photo, a heatmap over it, and the skeleton on top as SVG.

const SVG = "http://www.w3.org/2000/svg";
const DARK = "#12141c";
const COLOURS = { left: "#389ef0", right: "#f07214", centre: "#f7e25a" };
const LARGEST_PX = 1600;

// The side of each joint, as the package's own drawings have it.
export function sides(skeleton) {
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

function element(name, attributes, title) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) made.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
  return made;
}

// How sure a joint is: the calibrated confidence where the weights have one, else the peak's height.
export function sureness({ score, confidence }) {
  return confidence ?? score;
}

export class StackView {
  constructor(number, caption) {
    this.number = number;
    this.figure = document.createElement("figure");
    this.figure.dataset.stack = number;
    this.caption = document.createElement("figcaption");
    this.caption.textContent = caption;
    this.view = document.createElement("div");
    this.view.className = "view";
    this.photo = Object.assign(document.createElement("canvas"), { className: "photo" });
    this.heat = document.createElement("canvas");
    this.svg = element("svg", { role: "img", preserveAspectRatio: "none" });
    for (const canvas of [this.photo, this.heat]) canvas.setAttribute("aria-hidden", "true");
    this.view.append(this.photo, this.heat, this.svg);
    this.figure.append(this.caption, this.view);
  }

  // `width` and `height` are the picture's own pixels, as the answer counts them.
  showPicture(bitmap, width, height) {
    const scale = Math.min(1, LARGEST_PX / Math.max(width, height));
    for (const canvas of [this.photo, this.heat]) {
      canvas.width = Math.max(1, Math.round(width * scale));
      canvas.height = Math.max(1, Math.round(height * scale));
    }
    this.photo.getContext("2d").drawImage(bitmap, 0, 0, this.photo.width, this.photo.height);
    // An integer is the middle of a pixel, so the picture begins half a pixel before 0.
    this.svg.setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
    this.width = width;
    this.height = height;
  }

  // `people` have joints by name and, from the second stack on, what the stack before said as `before`.
  showPeople(people, skeleton, { shown, confidence, moves }) {
    this.svg.replaceChildren();
    const side = sides(skeleton);
    let drawn = 0;
    let sure = 0;
    for (const [index, { joints, before, side_px: sidePx }] of people.entries()) {
      const line = this.lineWidth(Object.values(joints));
      const group = element("g", { "data-person": index });
      const visible = (name) => shown.has(name);
      const known = (name) => sureness(joints[name]) >= confidence;
      for (const [a, b] of skeleton.limbs.filter((limb) => limb.every(visible))) {
        const ends = { x1: joints[a].x, y1: joints[a].y, x2: joints[b].x, y2: joints[b].y, "stroke-linecap": "round" };
        const opacity = known(a) && known(b) ? 1 : 0.35;
        group.append(element("line", { ...ends, stroke: DARK, "stroke-width": line * 1.6, opacity }));
        group.append(element("line", { ...ends, stroke: COLOURS[limbSide(side[a], side[b])], "stroke-width": line, opacity }));
      }
      for (const name of skeleton.joints.filter(visible)) {
        const { x, y, score, confidence: calibrated } = joints[name];
        const old = moves && before ? before[name] : null;
        if (old && Math.hypot(x - old.x, y - old.y) > 0.02 * sidePx) group.append(...this.move(old, { x, y }, name, line));
        const fill = known(name) ? COLOURS[side[name]] : "none";
        const stroke = known(name) ? "#fff" : COLOURS[side[name]];
        const radius = 1.3 * line + 0.8;
        group.append(element("circle", { cx: x, cy: y, r: radius + 0.5 * line, fill: known(name) ? DARK : "none", stroke: DARK, "stroke-width": 0.3 * line }));
        group.append(element(
          "circle",
          { class: "joint", "data-joint": name, "data-sure": known(name), cx: x, cy: y, r: radius, fill, stroke, "stroke-width": 0.5 * line },
          `${plain(name)}, score ${score.toFixed(2)}${calibrated === undefined ? "" : `, confidence ${calibrated.toFixed(2)}`}`,
        ));
        drawn += 1;
        sure += known(name);
      }
      this.svg.append(group);
    }
    this.svg.setAttribute("aria-label", `${this.caption.textContent}: ${drawn} joints, ${sure} of them above the confidence`);
  }

  move(old, now, name, line) {
    const ends = { x1: old.x, y1: old.y, x2: now.x, y2: now.y, "stroke-dasharray": `${2 * line} ${2 * line}` };
    const moved = Math.round(Math.hypot(now.x - old.x, now.y - old.y));
    return [
      element("line", { ...ends, stroke: DARK, "stroke-width": 1.4 * line }),
      element("line", { ...ends, class: "move", "data-joint": name, stroke: "#fff", "stroke-width": 0.8 * line }, `${plain(name)} moved ${moved} px`),
      element("circle", { cx: old.x, cy: old.y, r: line, fill: "#fff", stroke: DARK, "stroke-width": 0.4 * line }),
    ];
  }

  lineWidth(points) {
    const inside = (value, end) => Math.min(Math.max(value, 0), end);
    const xs = points.map(({ x }) => inside(x, this.width));
    const ys = points.map(({ y }) => inside(y, this.height));
    return Math.max(1.5, Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)) / 80);
  }

  // The whole view as a PNG, in the picture's own pixels up to 4096 on the longer side.
  async png(bitmap) {
    const scale = Math.min(1, 4096 / Math.max(this.width, this.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(this.width * scale);
    canvas.height = Math.round(this.height * scale);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    context.drawImage(this.heat, 0, 0, canvas.width, canvas.height);
    const copy = this.svg.cloneNode(true);
    copy.setAttribute("width", canvas.width);
    copy.setAttribute("height", canvas.height);
    const text = new XMLSerializer().serializeToString(copy);
    const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    try {
      const drawing = new Image();
      drawing.src = url;
      await drawing.decode();
      context.drawImage(drawing, 0, 0, canvas.width, canvas.height);
    } finally {
      URL.revokeObjectURL(url);
    }
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }
}

export function plain(name) {
  return name.replaceAll("_", " ");
}
