// The lists beside the picture: pictures, people, joints.

import { colourOfPerson, plain } from "./draw.js";

const $ = (id) => document.getElementById(id);

function button(text, pressed, data) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.setAttribute("aria-pressed", String(pressed));
  Object.assign(made.dataset, data);
  return made;
}

// Put these in, without losing the focus.
function fill(list, made) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.value : null;
  list.replaceChildren(...made);
  if (focused !== null) list.querySelector(`[data-value="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

export function fillPictures(pictures, name) {
  $("pictures").replaceChildren(...pictures.map((one) => new Option(`${one.labelled ? "✓ " : ""}${one.name}`, one.name, false, one.name === name)));
}

export function wordOf(joint) {
  if (!joint) return "missing";
  if (joint.guess) return "unsure";
  return joint.v === 1 ? "hidden" : "visible";
}

export function fillPeople(people, chosen) {
  fill($("people"), people.map((person, n) => {
    const made = button(`Person ${n + 1}`, n === chosen, { value: n });
    made.style.borderLeft = `.6rem solid ${colourOfPerson(n)}`;
    return made;
  }));
}

export function fillJoints(names, person, chosen) {
  fill($("joints"), person ? names.map((name) => {
    const row = document.createElement("li");
    const made = button(plain(name), name === chosen, { value: name });
    made.append(Object.assign(document.createElement("span"), { className: "soft", textContent: wordOf(person.joints[name]) }));
    row.append(made);
    return row;
  }) : []);
  const joint = person?.joints[chosen];
  $("hide").setAttribute("aria-pressed", String(joint?.v === 1));
  for (const id of ["hide", "remove"]) $(id).disabled = !joint;
  $("place").disabled = !person || !chosen || Boolean(joint);
  $("person-delete").disabled = !person;
}

export function fillAbout(project) {
  $("project").textContent = project.name;
  document.title = `${project.name}: hourglass label`;
  const left = project.skeleton.joints.length - project.suggested.length;
  const whose = project.weights ? `${project.weights} suggests ` : "Nothing suggests joints.";
  const which = left ? `${project.suggested.length || "none"} of the ${left + project.suggested.length} joints` : "all joints";
  const elsewhere = project.elsewhere ? ` ${project.elsewhere} pictures of labels.json aren't here; their labels stay.` : "";
  $("about").textContent = `${project.pictures.length} pictures. ${whose}${project.weights ? `${which}.` : ""}${elsewhere}`;
  $("unreadable-box").hidden = !project.unreadable.length;
  $("unreadable-title").textContent = `Pictures that can't be read and are left out: ${project.unreadable.length}`;
  $("unreadable").replaceChildren(...project.unreadable.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

export function fillKeys(rows) {
  $("keys").replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
}
