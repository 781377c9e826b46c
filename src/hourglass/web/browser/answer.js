// What was found in the words of the server's API, in which the page and its downloads speak.

// `all`: with each stage's own answer and heatmaps.
export function answerOf(facts, { width, height }, people, all) {
  const rows = people.map(({ square, stages }) => personOf(facts, square, stages, all));
  return { model: facts.name, skeleton: facts.skeleton, images: [{ name: null, width, height, people: rows }] };
}

function personOf(facts, { x, y, side }, stages, all) {
  const last = jointsOf(facts, stages.at(-1));
  const { covariances, confidences } = stages.at(-1);
  for (const [j, joint] of Object.values(last.joints).entries()) {
    if (confidences) joint.confidence = rounded(confidences[j]);
    if (covariances) joint.covariance = [0, 2].map((at) => [...covariances.slice(4 * j + at, 4 * j + at + 2)].map(rounded));
  }
  const corner = [x - side / 2 + 0.5, y - side / 2 + 0.5];
  const person = { image_id: null, score: last.score, box: [...corner, side, side].map(rounded), skeleton: facts.skeleton, joints: last.joints };
  if (!facts.heatmaps || !all) return person;
  return {
    ...person,
    stages: stages.map((stage, i) => ({ stage: i + 1, ...jointsOf(facts, stage) })),
    heatmaps: stages.map(({ maps }) => maps),
  };
}

function jointsOf({ skeleton }, { joints, scores, score }) {
  const row = (j) => ({ x: rounded(joints[j][0]), y: rounded(joints[j][1]), score: rounded(scores[j]) });
  return { score: rounded(score), joints: Object.fromEntries(skeleton.joints.map((name, j) => [name, row(j)])) };
}

function rounded(value) {
  return Math.round(value * 1e4) / 1e4;
}
