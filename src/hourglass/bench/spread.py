"""What covariances from heatmaps are worth: do joints err as far, and in the direction, that they say?

`python -m hourglass.bench.spread --root data/lspet [--people N]` prints the numbers of docs/confidence.md.
"""

import argparse

import numpy as np
from scipy.stats import spearmanr

from hourglass.data.loading.images import read_image
from hourglass.data.loading.records import load_records
from hourglass.evaluation.metrics.pck import relative_distance, torso_length
from hourglass.inference.predictor import Predictor, Request, Square
from hourglass.recipe.data import DataRecipe
from hourglass.weights.load import load_pose_network


def main() -> None:
    """Predict people in their annotated squares and compare the errors with what was said of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="hg2_small_192")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--people", type=int, default=0)
    options = parser.parse_args()
    network, facts = load_pose_network(options.weights)
    records = load_records(DataRecipe(name="lspet", root=options.root), options.split)
    records = records[: options.people or None]
    predictor = Predictor(network, facts, "cpu", "fp32")
    poses = []
    for n in range(0, len(records), 32):
        requests = [
            Request(read_image(r.image, r.image_id), (Square(r.center.astype(np.float64), r.side_px),), False)
            for r in records[n : n + 32]
        ]
        poses += [people[0] for people in predictor.answer(requests)]
        print(f"{len(poses)} of {len(records)} people", end="\r", flush=True)
    truth = np.stack([r.keypoints for r in records])
    labelled = np.stack([r.labelled for r in records])
    truth = np.where(labelled[..., None], truth, np.float32(0))
    found = np.stack([pose.keypoints for pose in poses])
    reference = torso_length(facts.skeleton, truth, labelled)
    distance, counted = relative_distance(found, truth, labelled, reference)
    spreads = np.stack([pose.covariances for pose in poses if pose.covariances is not None])
    errors = (truth - found).astype(np.float64)
    print(
        "joints off by at most | joints | squared error over its covariance | rank correlation | along axis"
    )
    for most in (0.2, 0.5):
        chosen = counted & (distance <= most)
        error, spread = errors[chosen], spreads[chosen].astype(np.float64)
        own = np.einsum("ni,nij,nj->n", error, np.linalg.inv(spread), error)
        length = np.linalg.norm(error, axis=1)
        values, axes = np.linalg.eigh(spread)
        longish = (values[:, 1] > 1.5 * values[:, 0]) & (length > 0)
        along = (axes[longish, :, 1] * error[longish]).sum(1) ** 2 / length[longish] ** 2
        rank = spearmanr(np.sqrt(values.sum(1)), length)[0]
        print(f"{most} torsos | {chosen.sum()} | {own.mean():.2f} | {rank:.2f} | {along.mean():.2f}")


if __name__ == "__main__":
    main()
