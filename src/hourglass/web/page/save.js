// Downloads.

export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// The answer without the heatmaps, which are many megabytes.
export function answerJson(answer) {
  return JSON.stringify(answer, (key, value) => (key === "heatmaps" ? undefined : value), 1);
}

// One row for each person, stack and joint.
export function answerCsv(image, stagesOf) {
  const rows = [["person", "stack", "joint", "x", "y", "score", "confidence"]];
  for (const [person, row] of image.people.entries()) {
    for (const { stage, joints } of stagesOf(row)) {
      for (const [name, { x, y, score, confidence = "" }] of Object.entries(joints)) rows.push([person + 1, stage, name, x, y, score, confidence]);
    }
  }
  return table(rows);
}

// One row for each frame, person and joint; keys as `hourglass predict --csv` has them for videos.
export function framesCsv(frames) {
  const rows = [["frame", "time_s", "person", "joint", "x", "y", "score", "confidence"]];
  for (const { frame, time_s: time, people } of frames) {
    for (const { id, joints } of people) {
      for (const [name, { x, y, score, confidence = "" }] of Object.entries(joints)) rows.push([frame, time, id, name, x, y, score, confidence]);
    }
  }
  return table(rows);
}

// One line of JSON for each frame, as `hourglass predict` writes them for videos.
export function framesJsonl(frames) {
  const line = ({ frame, time_s, people }) => ({
    frame, time_s, people: people.map(({ id, score, box, skeleton, joints }) => ({ person: id, score, box, skeleton, joints })),
  });
  return frames.map((frame) => `${JSON.stringify(line(frame))}\n`).join("");
}

function table(rows) {
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The picture with what is drawn over it, in its own pixels up to 4096 on the longer side.
export async function drawingPng(source, svg, width, height) {
  const scale = Math.min(1, 4096 / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const copy = svg.cloneNode(true);
  copy.setAttribute("width", canvas.width);
  copy.setAttribute("height", canvas.height);
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
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
