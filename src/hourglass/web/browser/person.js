// Where a person is looked for: what hourglass.inference.predictor does around its network.

// Squares to look at first, { x, y, side } each, and whether they are only a first guess.
export function squaresOf(text, { width, height }, { box_margin: margin, passes }) {
  if (!text) {
    return { squares: [{ x: (width - 1) / 2, y: (height - 1) / 2, side: Math.max(width, height) }], refine: true };
  }
  const squares = text.split(";").map((part) => {
    const box = part.split(",").map((number) => (number.trim() ? Number(number) : NaN));
    if (box.length !== 4 || !box.every(Number.isFinite)) {
      throw new Error(`boxes must be x,y,w,h;x,y,w,h, not ${text.length > 40 ? `${text.slice(0, 37)}...` : text}`);
    }
    const [x, y, w, h] = box;
    if (w <= 0 || h <= 0) throw new Error(`the box ${box} has no positive width and height`);
    if (x >= width || y >= height || x + w <= 0 || y + h <= 0) {
      throw new Error(`the box ${box} lies outside the picture of ${width} x ${height} px`);
    }
    if (Math.max(w, h) > 20 * Math.max(width, height)) {
      throw new Error("a box is more than 20 times as large as the picture");
    }
    // A box counts pixels from their edges, the picture from their middles.
    return { x: x + w / 2 - 0.5, y: y + h / 2 - 0.5, side: Math.max(Math.max(w, h) * margin, passes.smallest_side_px) };
  });
  return { squares, refine: false };
}

// The best of up to so many passes: { square, stages: [{ maps, joints: [[x, y]], scores, covariances, score }] }.
// `look(square)` gives each stage's `maps`, `scores`, and `joints` and `covariances` in the crop's pixels.
export async function findPerson(first, refine, look, { input_px: size, box_margin: margin, passes }) {
  let best = null;
  let square = first;
  for (let pass = 0; square && pass < passes.most; pass += 1) {
    const found = { square, stages: (await look(square)).map((stage) => inPicture(stage, square, size)) };
    const score = found.stages.at(-1).score;
    square = refine ? nextSquare(found, margin, passes) : null;
    if (!best || score >= passes.worse * best.stages.at(-1).score) best = found;
  }
  return best;
}

function inPicture({ maps, joints, scores, covariances }, { x, y, side }, size) {
  const back = (value, centre) => ((value - (size - 1) / 2) * side) / size + centre;
  const places = Array.from(scores, (_, j) => [back(joints[2 * j], x), back(joints[2 * j + 1], y)]);
  const score = scores.reduce((sum, value) => sum + value, 0) / scores.length;
  return { maps, joints: places, scores, covariances: covariances?.map((value) => value * (side / size) ** 2), score };
}

// Around the joints that were seen, or null when that is where the network just looked.
function nextSquare({ square, stages }, margin, passes) {
  const { joints, scores } = stages.at(-1);
  const seen = joints.filter((_, j) => scores[j] >= passes.seen);
  if (seen.length < Math.min(passes.fewest_seen, joints.length)) return null;
  const [low, high] = [Math.min, Math.max].map((pick) => [0, 1].map((axis) => pick(...seen.map((place) => place[axis]))));
  const longer = Math.max(high[0] - low[0], high[1] - low[1]);
  const next = { x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, side: Math.max(longer * margin, passes.smallest_side_px) };
  const moved = Math.max(Math.abs(next.x - square.x), Math.abs(next.y - square.y)) / square.side;
  return Math.max(moved, Math.abs(next.side / square.side - 1)) < passes.settled ? null : next;
}
