// People from frame to frame: who is who, and where to look for them in the next one.

import { sureness } from "./draw.js";

const SEEN = 0.2; // a joint below is left out of the box
const LOST = 0.25; // a person whose joints are less sure on average is let go
const FEWEST = 4;
const ANEW_MS = 2000;

function overlap(a, b) {
  const across = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const both = Math.max(0, across) * Math.max(0, down);
  return both / (a[2] * a[3] + b[2] * b[3] - both);
}

function boxOf(joints, width, height) {
  const inside = (value, end) => Math.min(Math.max(value + 0.5, 0), end);
  const seen = Object.values(joints).filter((joint) => sureness(joint) >= SEEN);
  if (seen.length < FEWEST) return null;
  const xs = seen.map(({ x }) => inside(x, width));
  const ys = seen.map(({ y }) => inside(y, height));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  const [w, h] = [Math.max(...xs) - x, Math.max(...ys) - y];
  return Math.min(w, h) > 0 && Math.max(w, h) >= 8 ? [x, y, w, h] : null;
}

export class Follower {
  // `several`: whether whoever answers finds more than one person by itself, and so should look for newcomers.
  constructor(several) {
    Object.assign(this, { several, known: [], newest: 0, looked: -Infinity });
  }

  // Boxes to look in, as the API takes them; nothing where everybody has to be found.
  boxes(now) {
    if (!this.known.length || (this.several && now - this.looked > ANEW_MS)) {
      this.looked = now;
      return "";
    }
    return this.known.map(({ box }) => box.map((value) => value.toFixed(1)).join(",")).join(";");
  }

  // The same people with an `id` each that stays from frame to frame, and `sure`, whether there seems to be one.
  follow(people, { width, height }) {
    const before = [...this.known];
    const rows = people.map((person) => {
      const joints = Object.values(person.joints);
      const mean = joints.reduce((sum, joint) => sum + sureness(joint), 0) / joints.length;
      return { person, box: mean < LOST ? null : boxOf(person.joints, width, height) };
    });
    for (const row of rows) {
      if (!row.box) continue;
      const shares = before.map(({ box }) => overlap(row.box, box));
      const best = shares.indexOf(Math.max(...shares));
      if (best >= 0 && shares[best] > 0.1) [{ id: row.id }] = before.splice(best, 1);
    }
    for (const row of rows) {
      if (row.id !== undefined) continue;
      const used = new Set(rows.map(({ id }) => id));
      row.id = 0;
      while (used.has(row.id)) row.id += 1;
    }
    this.known = rows.filter(({ box }) => box).map(({ id, box }) => ({ id, box }));
    return rows.map(({ person, id, box }) => ({ ...person, id, sure: Boolean(box) })).sort((a, b) => a.id - b.id);
  }
}
