// The API's description as a page: what `openapi.json` says, and a command for each address.

const make = (name, text = "", attributes = {}) => {
  const made = Object.assign(document.createElement(name), { textContent: text });
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

function typeOf(schema = {}) {
  const type = [schema.type].flat().filter(Boolean).join(" or ") || "anything";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.contentEncoding) return `${type}, ${schema.contentEncoding}`;
  if (schema.format) return `${type}, ${schema.format}`;
  return schema.items ? `${type} of ${typeOf(schema.items)}` : type;
}

// Rows of name, type, and what it means, for a schema's keys and those below them.
function* keysOf(schema, before = "") {
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const path = `${before}${name}`;
    yield [path, typeOf(inner), inner.description ?? ""];
    if (inner.properties) yield* keysOf(inner, `${path}.`);
    if (inner.items?.properties) yield* keysOf(inner.items, `${path}[].`);
    if (inner.additionalProperties?.properties) yield* keysOf(inner.additionalProperties, `${path}.*.`);
  }
  if (!before && schema.additionalProperties?.properties) yield* keysOf(schema.additionalProperties, "*.");
}

function table(titles, rows) {
  const made = make("table");
  const head = make("tr");
  for (const title of titles) head.append(make("th", title, { scope: "col" }));
  made.append(make("thead"), make("tbody"));
  made.tHead.append(head);
  for (const [first, ...rest] of rows) {
    const row = make("tr");
    const name = make("th", "", { scope: "row" });
    name.append(make("code", first));
    row.append(name, ...rest.map((text) => make("td", text)));
    made.tBodies[0].append(row);
  }
  const scroll = make("div", "", { class: "scroll", tabindex: 0, role: "group", "aria-label": titles.join(", ") });
  scroll.append(made);
  return scroll;
}

function code(text, label) {
  return make("pre", text, { tabindex: 0, role: "group", "aria-label": label });
}

function folded(title, ...content) {
  const made = make("details");
  const summary = make("summary");
  summary.append(title);
  made.append(summary, ...content);
  return made;
}

// A command that can be pasted into a shell.
function command(base, path, method, operation) {
  const key = operation.security?.length ? ` -H 'X-API-Key: KEY'` : "";
  const body = operation.requestBody ? ` --data-binary @photo.jpg -H 'Content-Type: image/jpeg'` : "";
  return `curl${key}${body} '${base}${path}'`;
}

function contents(content, what) {
  return Object.entries(content ?? {}).map(([kind, { schema = {}, example }]) => {
    const rows = [...keysOf(schema)];
    const parts = rows.length ? [table(["Key", "Type", "Meaning"], rows)] : [make("p", typeOf(schema), { class: "small" })];
    if (example) parts.push(make("h3", "Example"), code(JSON.stringify(example, null, 1), `Example of ${what}`));
    return folded(make("code", kind), ...parts);
  });
}

function section(base, path, method, operation) {
  const made = make("section", "", { class: "card operation", "aria-label": `${method} ${path}` });
  const title = make("h2");
  title.append(make("span", method.toUpperCase(), { class: "method" }), path);
  made.append(title, make("p", `${operation.summary ?? ""}.`), code(command(base, path, method, operation), "Command"));
  const parameters = operation.parameters ?? [];
  if (parameters.length) {
    made.append(make("h3", "In the address"), table(["Name", "Type", "Meaning"], parameters.map(({ name, schema, description }) => [name, typeOf(schema), description ?? ""])));
  }
  if (operation.requestBody) {
    made.append(make("h3", "Body"), make("p", operation.requestBody.description ?? ""), ...contents(operation.requestBody.content, "a body"));
  }
  made.append(make("h3", "Answers"));
  for (const [status, { description, content }] of Object.entries(operation.responses ?? {})) {
    const head = make("span");
    head.append(make("code", status), ` ${description ?? ""}`);
    made.append(folded(head, ...contents(content, `answer ${status}`)));
  }
  return made;
}

async function show() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`the server answered with status ${response.status}`);
  const { info, paths } = await response.json();
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const found = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => section(base, path, method, operation)));
  document.getElementById("api").replaceChildren(make("p", `${info.summary ?? ""} Version ${info.version}.`), ...found);
}

show().catch((error) => {
  document.getElementById("state").textContent = `The description can't be read: ${error.message}.`;
});
