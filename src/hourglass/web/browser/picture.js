// From a picture file to the network's square crop, as hourglass.core.geometry cuts it.
// Coordinates: an integer is the middle of a pixel, so n pixels span -0.5 to n - 0.5.

const MOST_PIXELS = 16_000_000; // more than some browsers' canvas holds
const SLIVER = 1e-3; // OpenCV's area averaging leaves out what covers less of a pixel

// The upright picture's own `width` and `height`, and RGBA pixels, of which large pictures have fewer; from a file or
// a bitmap, which is closed.
export async function readPicture(picture) {
  const bitmap = picture instanceof ImageBitmap ? picture : await createImageBitmap(picture, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const shrink = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const columns = Math.max(1, Math.round(width * shrink));
  const rows = Math.max(1, Math.round(height * shrink));
  const context = new OffscreenCanvas(columns, rows).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // transparency is laid on white
  context.fillRect(0, 0, columns, rows);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, columns, rows);
  bitmap.close();
  return { width, height, columns, rows, data: context.getImageData(0, 0, columns, rows).data };
}

// RGB planes (3, size, size) of a square { x, y, side } of the picture: bilinear, black outside.
// Where that shrinks more than twofold the picture is first reduced by area averaging.
export function cutOut(picture, square, size) {
  const { width, height, columns, rows } = picture;
  const shrink = (size / square.side) * Math.sqrt((width * height) / (columns * rows));
  // Where the crop's pixels lie on one axis, counted in `count` pixels of the whole side.
  const along = (centre, side, count) => Float64Array.from({ length: size }, (_, u) => {
    const place = centre + ((u - (size - 1) / 2) * square.side) / size;
    return ((place + 0.5) * count) / side - 0.5;
  });
  let source = { data: picture.data, columns, rows, left: 0, top: 0, stride: columns };
  if (shrink < 0.5) {
    source.columns = Math.max(1, Math.round(columns * 2 * shrink));
    source.rows = Math.max(1, Math.round(rows * 2 * shrink));
  }
  const xs = along(square.x, width, source.columns);
  const ys = along(square.y, height, source.rows);
  if (shrink < 0.5) source = reduced(picture, source, reach(xs, source.columns), reach(ys, source.rows));
  return bilinear(source, xs, ys, size);
}

// First and last whole pixel that bilinear sampling touches, inside 0 .. count - 1.
function reach(places, count) {
  const inside = (value) => Math.min(Math.max(value, 0), count - 1);
  return [inside(Math.floor(places[0])), inside(Math.floor(places.at(-1)) + 1)];
}

// The picture in `columns` x `rows` pixels, each the mean of the area it covers; only the part in reach.
function reduced(picture, { columns, rows }, [left, right], [top, bottom]) {
  const across = shares(picture.columns, columns, left, right);
  const down = shares(picture.rows, rows, top, bottom);
  const stride = right - left + 1;
  const data = new Uint8ClampedArray(4 * stride * (bottom - top + 1));
  const line = new Float64Array(4 * stride);
  const total = new Float64Array(4 * stride);
  for (const [row, [y, heights]] of down.entries()) {
    total.fill(0);
    for (const [j, weight] of heights.entries()) {
      line.fill(0);
      for (const [column, [x, widths]] of across.entries()) {
        let at = 4 * ((y + j) * picture.columns + x);
        for (let i = 0; i < widths.length; i += 1, at += 4) {
          for (let c = 0; c < 3; c += 1) line[4 * column + c] += widths[i] * picture.data[at + c];
        }
      }
      for (let i = 0; i < line.length; i += 1) total[i] += weight * line[i];
    }
    data.set(total, 4 * stride * row);
  }
  return { data, columns, rows, left, top, stride };
}

// For each new pixel from `first` to `last` the old one that its area begins in, and old pixels' shares of it.
function shares(before, after, first, last) {
  const step = before / after;
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const begin = (first + i) * step;
    const end = Math.min(begin + step, before);
    const from = Math.floor(begin + SLIVER);
    const to = Math.ceil(end - SLIVER);
    const covered = (pixel) => (Math.min(pixel + 1, end) - Math.max(pixel, begin)) / (end - begin);
    return [from, Array.from({ length: to - from }, (_, k) => covered(from + k))];
  });
}

function bilinear({ data, columns, rows, left, top, stride }, xs, ys, size) {
  const planes = new Uint8ClampedArray(3 * size * size);
  const value = (x, y, c) => (x < 0 || y < 0 || x >= columns || y >= rows ? 0 : data[4 * ((y - top) * stride + x - left) + c]);
  for (let v = 0; v < size; v += 1) {
    const y = Math.floor(ys[v]);
    const b = ys[v] - y;
    for (let u = 0; u < size; u += 1) {
      const x = Math.floor(xs[u]);
      const a = xs[u] - x;
      for (let c = 0; c < 3; c += 1) {
        const upper = (1 - a) * value(x, y, c) + a * value(x + 1, y, c);
        const lower = (1 - a) * value(x, y + 1, c) + a * value(x + 1, y + 1, c);
        planes[(c * size + v) * size + u] = (1 - b) * upper + b * lower;
      }
    }
  }
  return new Uint8Array(planes.buffer);
}
