// Heatmaps as colours over what the network saw. Of one stage: `joints`, `height`, `width`, and `values` by joint.

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

// The square `box` (x, y, w, h in the picture's pixels) that the network saw, on a square canvas; `scale` is
// how many pixels of the bitmap are one of the picture.
export function paintCrop(canvas, bitmap, scale, box) {
  const side = canvas.width;
  const context = canvas.getContext("2d");
  const [x, y, w, h] = box.map((value) => value * scale);
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (-x * side) / w, (-y * side) / h, (bitmap.width * side) / w, (bitmap.height * side) / h);
}

// A joint's map over the whole canvas.
export function paintHeat(canvas, maps, joint) {
  const context = canvas.getContext("2d");
  context.fillStyle = "rgba(0, 0, 0, 0.35)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(tile(maps, joint), 0, 0, canvas.width, canvas.height);
}
