// Heatmaps as colours over the picture. Of one stage: `joints`, `height`, `width`, and `values` by joint.

// A small canvas with one joint's map, or the highest of all of them (joint -1).
function tile(maps, joint) {
  const { joints, height, width, values } = maps;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const cells = width * height;
  for (let i = 0; i < cells; i += 1) {
    let value = joint < 0 ? 0 : Math.abs(values[joint * cells + i]);
    if (joint < 0) for (let j = 0; j < joints; j += 1) value = Math.max(value, Math.abs(values[j * cells + i]));
    value = Math.min(1, value);
    // From deep red through orange to pale yellow; transparent where there is nothing.
    image.data.set([255, Math.round(60 + 180 * value), Math.round(190 * value * value), Math.round(235 * Math.sqrt(value))], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Lay a map over a canvas that shows the whole picture of `width` pixels; the box is in those pixels.
export function paint(canvas, maps, joint, box, width) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!maps || joint === null) return;
  const scale = canvas.width / width;
  const [x, y, w, h] = box.map((value) => value * scale);
  context.fillStyle = "rgba(0, 0, 0, 0.35)";
  context.fillRect(x, y, w, h);
  context.imageSmoothingQuality = "high";
  context.drawImage(tile(maps, joint), x, y, w, h);
}

// The network's square of the picture with a joint's map over it.
export function paintCrop(canvas, bitmap, scale, maps, joint, box) {
  const side = canvas.width;
  const context = canvas.getContext("2d");
  const [x, y, w, h] = box.map((value) => value * scale);
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  context.drawImage(bitmap, (-x * side) / w, (-y * side) / h, (bitmap.width * side) / w, (bitmap.height * side) / h);
  context.fillStyle = "rgba(0, 0, 0, 0.35)";
  context.fillRect(0, 0, side, side);
  context.drawImage(tile(maps, joint), 0, 0, side, side);
}
