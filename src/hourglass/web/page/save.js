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
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
