// A joint's name beside it, when it is pointed at or has the keyboard's focus.

import { reveal } from "./zoom.js";

const $ = (id) => document.getElementById(id);
let shown = null; // { joint, person }

const find = ({ joint, person }) => [...$("overlay").querySelectorAll(".joint")]
  .find(({ dataset }) => dataset.joint === joint && dataset.person === person);

function show(dataset) {
  shown = dataset && { joint: dataset.joint, person: dataset.person };
  place();
}

// Beside its joint, after that was drawn anew or moved.
export function place() {
  const spot = shown && find(shown);
  $("tip").hidden = !spot;
  if (!spot) return;
  $("tip").textContent = spot.getAttribute("aria-label");
  const joint = spot.getBoundingClientRect();
  const seen = $("viewport").getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = $("tip");
  const x = Math.min(Math.max(joint.left + joint.width / 2 - seen.left - width / 2, 4), seen.width - width - 4);
  const above = joint.top - seen.top - height - 8;
  $("tip").style.left = `${x}px`;
  $("tip").style.top = `${above > 4 ? above : joint.bottom - seen.top + 8}px`;
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export function listenToTips() {
  const overlay = $("overlay");
  overlay.addEventListener("pointerover", ({ target }) => target.dataset.joint && show(target.dataset));
  overlay.addEventListener("pointerleave", () => show(overlay.contains(document.activeElement) ? document.activeElement.dataset : null));
  overlay.addEventListener("focusin", ({ target }) => {
    if (!target.matches(".joint")) return;
    for (const other of overlay.querySelectorAll(".joint[tabindex='0']")) other.setAttribute("tabindex", -1);
    target.setAttribute("tabindex", 0);
    reveal(target.getBoundingClientRect());
    show(target.dataset);
  });
  overlay.addEventListener("focusout", () => show(null));
  overlay.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(null);
    const joints = [...overlay.querySelectorAll(".joint")];
    const at = joints.indexOf(event.target);
    const ends = { Home: 0, End: joints.length - 1 };
    const next = event.key in ends ? ends[event.key] : at + STEPS[event.key];
    if (event.shiftKey || at < 0 || Number.isNaN(next)) return;
    event.preventDefault();
    joints[(next + joints.length) % joints.length].focus();
  });
}
