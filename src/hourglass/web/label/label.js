// The editor: pictures one after the other, their people, every change undoable and saved at once.

import { plain } from "./draw.js";
import { draw as drawJoints, focusChosen, listenToPointer } from "./edit.js";
import { fillAbout, fillJoints, fillKeys, fillPeople, fillPictures } from "./panel.js";
import { ask, isOpen, know, save, start, version } from "./store.js";
import { fit, listenToZoom, reveal } from "./zoom.js";

const $ = (id) => document.getElementById(id);
const COALESCE_MS = 1000;
const books = new Map(); // each picture that was open: { name, width, height, labelled, people, undo, redo, fresh }
let project = null;
let book = null;
let chosen = { person: 0, joint: null };
let opening = "";
let keys = 0;
let last = { what: "", time: 0 };

const say = (text, bad = false) => {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
};
const copy = () => structuredClone({ labelled: book.labelled, people: book.people });
const person = () => book?.people[chosen.person];
const joint = () => person()?.joints[chosen.joint];
const address = (name) => `picture?${new URLSearchParams({ name })}`;
const round = (value) => Math.round(100 * value) / 100;

function toPeople(rows) {
  return rows.map(({ id, joints }) => ({
    key: `p${++keys}-${Date.now()}`, id,
    joints: Object.fromEntries(Object.entries(joints).map(([name, [x, y, v, sure = true]]) => [name, { x, y, v, guess: !sure }])),
  }));
}

function toRows(people) {
  return people.map(({ key, joints }) => ({
    key, joints: Object.fromEntries(Object.entries(joints).filter(([, one]) => !one.guess).map(([name, { x, y, v }]) => [name, [round(x), round(y), v]])),
  }));
}

function show() {
  if (!book) return;
  drawJoints(project.skeleton, book, chosen);
  fillPeople(book.people, chosen.person);
  fillJoints(project.skeleton.joints, person(), chosen.joint);
  $("undo").disabled = !book.undo.length;
  $("redo").disabled = !book.redo.length;
}

function tellWhere() {
  const n = project.pictures.findIndex(({ name }) => name === book.name);
  const who = book.people.length === 1 ? "1 person" : `${book.people.length} people`;
  say(`Picture ${n + 1} of ${project.pictures.length}, ${book.name}: ${who}, ${book.labelled ? "labelled" : "not labelled yet"}.`);
}

// Before a change was `before`; what came of it is shown and saved. Quick repeats of one thing are one to undo.
function changed(before, what = "") {
  const now = Date.now();
  if (!what || what !== last.what || now - last.time > COALESCE_MS) book.undo.push(before);
  last = { what, time: now };
  book.redo = [];
  book.labelled = true;
  keep();
}

function keep() {
  const entry = project.pictures.find(({ name }) => name === book.name);
  if (entry.labelled !== book.labelled) {
    entry.labelled = book.labelled;
    fillPictures(project.pictures, book.name);
    tellWhere();
  }
  show();
  save(book.name, book.labelled, book.labelled ? toRows(book.people) : []);
}

function travel(from, to) {
  if (!book || !book[from].length) return;
  book[to].push(copy());
  Object.assign(book, book[from].pop());
  last = { what: "", time: 0 };
  chosen.person = Math.min(chosen.person, Math.max(0, book.people.length - 1));
  keep();
}

const change = (work, what) => {
  if (!book) return;
  const before = copy();
  work();
  changed(before, what);
};

function choose(who, name) {
  chosen = { person: who, joint: name };
  show();
}

const missing = () => project.skeleton.joints.find((name) => !person()?.joints[name]) ?? null;
const inside = (value, size) => Math.min(Math.max(value, -0.5), size - 0.5);

function moveTo(x, y) {
  Object.assign(joint(), { x: inside(x, book.width), y: inside(y, book.height), guess: false });
}

function place(x, y) {
  if (!person() || !chosen.joint || joint()) return;
  const name = chosen.joint;
  change(() => { person().joints[name] = { x: inside(x, book.width), y: inside(y, book.height), v: 2, guess: false }; });
  const after = missing();
  say(after ? `${plain(name)} is placed; click for ${plain(after)}.` : "All joints are placed.");
  if (after) choose(chosen.person, after);
}

// For the keyboard: the joint comes into the middle, is chosen, and arrow keys move it.
function placeInTheMiddle() {
  const others = Object.values(person()?.joints ?? {});
  const middle = (axis, size) => (others.length ? others.reduce((sum, one) => sum + one[axis], 0) / others.length : size / 2);
  const name = chosen.joint;
  if (!person() || !name || joint()) return;
  place(middle("x", book.width), middle("y", book.height));
  choose(chosen.person, name);
  focusChosen();
  say(`${plain(name)} is in the middle; arrow keys move it.`);
}

function removeJoint() {
  if (joint()) change(() => { delete person().joints[chosen.joint]; });
}

function removePerson() {
  if (!person()) return;
  change(() => book.people.splice(chosen.person, 1));
  choose(Math.max(0, Math.min(chosen.person, book.people.length - 1)), null);
}

function addPerson() {
  if (!book) return;
  const before = copy();
  book.people.push({ key: `p${++keys}-${Date.now()}`, id: null, joints: {} });
  book.undo.push(before);
  book.redo = [];
  choose(book.people.length - 1, project.skeleton.joints[0]);
  say(`Click where the ${plain(chosen.joint)} is.`);
}

function step(by) {
  const there = project.skeleton.joints.filter((name) => person()?.joints[name]);
  if (!there.length) return;
  const n = there.indexOf(chosen.joint);
  choose(chosen.person, there[n < 0 ? 0 : (n + by + there.length) % there.length]);
  focusChosen();
  reveal($("overlay").querySelector(".joint[tabindex='0']").getBoundingClientRect());
}

function nudge(dx, dy, far) {
  if (!joint()) return false;
  const { x, y } = joint();
  const px = far ? 10 : 1;
  change(() => moveTo(x + dx * px, y + dy * px), `${chosen.person} ${chosen.joint}`);
  return true;
}

async function suggest() {
  const { name } = book;
  say("Looking for joints …");
  const { people } = await ask("api/suggested", { name });
  return book?.name === name ? toPeople(people) : null;
}

async function open(name) {
  opening = name;
  const before = version(name);
  const state = await ask("api/picture", { name });
  if (opening !== name) return;
  const old = books.get(name);
  // What this tab knows is kept with what can be undone, unless another one has saved since.
  if (old && (isOpen(name) || version(name) === state.version || version(name) !== before)) book = old;
  else {
    const people = toPeople(state.people);
    know({ ...state, people });
    book = { ...state, people, undo: [], redo: [] };
    books.set(name, book);
  }
  chosen = { person: 0, joint: project.skeleton.joints.find((one) => book.people[0]?.joints[one]) ?? null };
  last = { what: "", time: 0 };
  location.replace(`#${encodeURIComponent(name)}`);
  $("photo").src = address(name);
  $("pictures").value = name;
  fit(book.width, book.height);
  show();
  tellWhere();
  if (!book.labelled && !book.people.length && !book.undo.length && project.suggested.length) {
    const people = await suggest();
    if (!people || book.labelled || book.undo.length) return;
    book.people = people;
    chosen.joint = project.skeleton.joints.find((one) => people[0]?.joints[one]) ?? null;
    show();
    tellWhere();
  }
  const following = project.pictures[project.pictures.findIndex((one) => one.name === name) + 1];
  if (following) new Image().src = address(following.name);
}

function failed(error) {
  say(error.status ? error.message : `The page can't go on: ${error.message}`, true);
}

const go = (name) => open(name).catch(failed);

function turn(by) {
  const n = project.pictures.findIndex(({ name }) => name === opening) + by;
  if (project.pictures[n]) return go(project.pictures[n].name);
  return say(by > 0 ? "This is the last picture." : "This is the first picture.");
}

async function goNext(doubtful) {
  const { name, looked_at: lookedAt } = await ask("api/next", { name: opening, ...(doubtful ? { doubtful: 1 } : {}) });
  if (name) await open(name);
  else if (doubtful) say(project.suggested.length ? `No other unlabelled picture was looked at so far (${lookedAt} of ${project.pictures.length} were).` : "Nothing suggests joints, so no picture is doubtful.");
  else say("Every other picture is labelled.");
}

function accept() {
  if (!book) return;
  const left = book.people.some(({ joints }) => Object.values(joints).some(({ guess }) => guess));
  if (!book.labelled || left) change(() => book.people.forEach(({ joints }) => Object.values(joints).forEach((one) => { one.guess = false; })));
  goNextWhenSaved();
}

// The server tells which one is next, so it has to know first that this one is done.
let waiting = null;
function goNextWhenSaved() {
  waiting = () => goNext(false).catch(failed);
  if ($("saved").dataset.kind === "saved") { waiting(); waiting = null; }
}

function told(kind, text) {
  const words = { saved: text, saving: "Saving …", failed: "Not saved yet.", stale: "Not saved." };
  Object.assign($("saved"), { textContent: words[kind] });
  $("saved").dataset.kind = kind;
  if (kind === "failed") say(`Not saved: ${text}; it is tried again until it is.`, true);
  if (kind === "stale") {
    $("stale").hidden = false;
    $("stale-text").textContent = text;
    waiting = null;
  }
  if (kind === "saved") {
    if ($("status").classList.contains("bad")) say("Saved.");
    waiting?.();
    waiting = null;
  }
}

// Keys, what they do in words, and whether they are single characters, which can be turned off.
const COMMANDS = [
  ["ArrowLeft", "Arrow keys", "move the chosen joint by a pixel, with Shift by ten", (e) => nudge(-1, 0, e.shiftKey)],
  ["ArrowRight", "", "", (e) => nudge(1, 0, e.shiftKey)],
  ["ArrowUp", "", "", (e) => nudge(0, -1, e.shiftKey)],
  ["ArrowDown", "", "", (e) => nudge(0, 1, e.shiftKey)],
  ["PageDown", "PageDown, PageUp", "next and previous picture", () => turn(1)],
  ["PageUp", "", "", () => turn(-1)],
  ["Enter", "Enter", "all right: everything shown is labelled, and the next unlabelled picture comes", accept],
  ["Delete", "Delete", "deletes the chosen joint, with Shift the person", (e) => (e.shiftKey ? removePerson() : removeJoint())],
  ["Backspace", "", "", removeJoint],
  ["Insert", "Insert", "puts the chosen missing joint in the middle", placeInTheMiddle],
  [".", ". and ,", "next and previous joint", () => step(1)],
  [",", "", "", () => step(-1)],
  ["h", "H", "hidden in the picture, or visible", () => hide()],
  ["n", "N", "new person", addPerson],
  ["p", "P", "next person", () => book.people.length && choose((chosen.person + 1) % book.people.length, null)],
  ["u", "U", "next unlabelled picture", () => goNext(false).catch(failed)],
  ["d", "D", "next doubtful picture: the unlabelled one of which the network is least sure", () => goNext(true).catch(failed)],
];

function hide() {
  if (joint()) change(() => Object.assign(joint(), { v: joint().v === 1 ? 2 : 1, guess: false }));
}

function key(event) {
  const { target } = event;
  if (!book || target.closest("input, select, textarea")) return;
  if ((event.ctrlKey || event.metaKey) && /^[zy]$/i.test(event.key)) {
    const back = event.key.toLowerCase() === "z" && !event.shiftKey;
    travel(...(back ? ["undo", "redo"] : ["redo", "undo"]));
  } else {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (name.length === 1 && !$("letters").checked) return;
    if (name === "Enter" && target.closest("button, a, summary")) return;
    const command = COMMANDS.find(([one]) => one === name);
    if (!command || command[3](event) === false) return;
  }
  event.preventDefault();
  event.stopPropagation(); // Shift and an arrow would move the picture
}

function listen() {
  const clicks = {
    previous: () => turn(-1), next: () => turn(1), unlabelled: () => goNext(false).catch(failed), doubtful: () => goNext(true).catch(failed),
    undo: () => travel("undo", "redo"), redo: () => travel("redo", "undo"), accept, hide, remove: removeJoint, place: placeInTheMiddle,
    "person-add": addPerson, "person-delete": removePerson, reload: () => location.reload(),
    again: () => suggest().then((people) => people && change(() => { book.people = people; })).catch(failed),
  };
  for (const [id, work] of Object.entries(clicks)) $(id).addEventListener("click", work);
  $("pictures").addEventListener("change", () => go($("pictures").value));
  $("photo").addEventListener("error", async () => {
    const response = await fetch($("photo").src);
    if (!response.ok) say((await response.json()).error.message, true);
  });
  $("people").addEventListener("click", ({ target }) => target.closest("button") && choose(Number(target.closest("button").dataset.value), null));
  $("joints").addEventListener("click", ({ target }) => {
    const name = target.closest("button")?.dataset.value;
    if (!name) return;
    choose(chosen.person, name);
    if (joint()) focusChosen();
    else say(`Click where the ${plain(name)} is, or place it in the middle and move it with the arrow keys.`);
  });
  document.addEventListener("keydown", key, true);
  listenToZoom(() => {});
  listenToPointer({
    book: () => book, chosen: () => chosen, choose, copy, place,
    moving: (x, y) => { moveTo(x, y); show(); },
    done: (before) => changed(before),
    clicked: () => joint()?.guess && change(() => { joint().guess = false; }),
  });
  fillKeys([...COMMANDS.filter(([, shown]) => shown).map(([, shown, does]) => [shown, does]), ["Ctrl+Z, Ctrl+Y", "undo and redo"], ["+, -, 0", "zoom"]]);
}

async function begin() {
  project = await ask("api/project");
  fillAbout(project);
  fillPictures(project.pictures, "");
  listen();
  await start(project.folder, told);
  const named = decodeURIComponent(location.hash.slice(1));
  const first = project.pictures.find(({ name }) => name === named) ?? project.pictures.find(({ labelled }) => !labelled) ?? project.pictures[0];
  await open(first.name);
}

begin().catch(failed);
