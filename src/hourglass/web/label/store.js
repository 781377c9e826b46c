// What the server keeps: every change is sent at once, and again until it is answered.

const AGAIN_MS = 2000;
const versions = new Map(); // of pictures, as this tab knows them
const ids = new Map(); // of people that the server numbered, by their key here
const stale = new Set();
const kept = { name: "", sending: null, waiting: {} }; // also in the session's storage, which outlives a reload
let busy = false;
let told = () => {};

export async function ask(path, parameters = {}, options = {}) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`, options);
  const answer = await response.json();
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.error.message), { status: response.status });
}

function remember() {
  Object.assign(kept, { versions: [...versions], ids: [...ids] });
  sessionStorage.setItem(kept.name, JSON.stringify(kept));
}

// Begin, with what a reload left unsent. `tell(kind, text)` hears `saved`, `saving`, `failed` and `stale`.
export function start(folder, tell) {
  told = tell;
  kept.name = `hourglass label ${folder}`;
  Object.assign(kept, JSON.parse(sessionStorage.getItem(kept.name) ?? "{}"));
  for (const pair of kept.versions ?? []) versions.set(...pair);
  for (const pair of kept.ids ?? []) ids.set(...pair);
  addEventListener("beforeunload", (event) => Object.keys(kept.waiting).length && event.preventDefault());
  return send();
}

export function know(state) {
  versions.set(state.name, state.version);
  for (const person of state.people) ids.set(person.key, person.id);
}

export const version = (name) => versions.get(name);
export const isOpen = (name) => stale.has(name) || kept.sending?.name === name || name in kept.waiting;

// Save a picture's people, [{ key, joints: { name: [x, y, visibility] } }].
export function save(name, labelled, people) {
  if (stale.has(name)) return;
  kept.waiting[name] = { labelled, people };
  remember();
  send();
}

function next() {
  const [name, { labelled, people }] = Object.entries(kept.waiting)[0];
  delete kept.waiting[name];
  const rows = people.map(({ key, joints }) => ({ key, id: ids.get(key) ?? null, joints }));
  return { name, version: versions.get(name), labelled, people: rows };
}

async function send() {
  if (busy) return;
  busy = true;
  while (kept.sending || Object.keys(kept.waiting).length) {
    // One that wasn't answered may have arrived, so the very same is said again before anything newer.
    kept.sending ??= next();
    remember();
    const { name, ...body } = kept.sending;
    told("saving", "");
    try {
      const text = JSON.stringify(body);
      const options = { method: "PUT", headers: { "Content-Type": "application/json" }, body: text, keepalive: text.length < 60000 };
      const state = await ask("api/picture", { name }, options);
      versions.set(name, state.version);
      body.people.filter(({ joints }) => Object.keys(joints).length).forEach(({ key }, n) => ids.set(key, state.people[n].id));
      kept.sending = null;
    } catch (error) {
      if (error.status === 409 || error.status === 404) {
        stale.add(name);
        delete kept.waiting[name];
        kept.sending = null;
        told("stale", error.message);
      } else {
        told("failed", error.status ? error.message : "the server doesn't answer");
        await new Promise((done) => setTimeout(done, AGAIN_MS));
      }
    }
    remember();
  }
  busy = false;
  told("saved", stale.size ? "All but the picture that was changed elsewhere is saved." : "Saved.");
}
