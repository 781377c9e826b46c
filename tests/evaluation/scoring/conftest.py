"""Small files in every form that scoring reads, of people drawn at random."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.evaluation.evaluate import Predictions, save_predictions

MAT_NAMES = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)


def write_h5(path: Path, fields: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def own_file(path: Path, skeleton: Skeleton, ids: Any, names: Any, points: Any) -> Path:
    """Our predictions, which count from 0."""
    scores = np.linspace(0.1, 0.9, len(points))[:, None] * np.ones((1, len(skeleton)))
    save_predictions(
        path,
        Predictions(
            np.asarray(ids, np.int64),
            tuple(names),
            np.asarray(points, np.float32),
            scores.astype(np.float32),
            skeleton,
        ),
    )
    return path


@pytest.fixture(scope="session")
def mpii(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """MPII's val split of 40 people in every form, and two sets of predictions.

    Coordinates are whole, so that the authors' file and the others agree.
    """
    root, rng, count = tmp_path_factory.mktemp("mpii"), np.random.default_rng(0), 40
    points = rng.integers(5, 400, (count, 16, 2)).astype(float)
    labelled = rng.random((count, 16)) < 0.9
    labelled[:, [8, 9]] |= ~labelled.any(1, keepdims=True)
    hidden = labelled & (rng.random((count, 16)) < 0.25)
    points[~labelled] = 0
    scale = rng.uniform(1, 4, count).round(3)
    head = 25 * scale
    # Neck to head top as long as a raw scale makes it, so that readers see the state of the scale.
    points[:, 9] = points[:, 8] + np.stack([np.zeros(count), np.round(100 / 3 * scale)], 1)
    points[~labelled] = 0
    good = np.where(labelled[..., None], points, 50) + rng.normal(0, 9, points.shape).round(2)
    worse = good + rng.normal(0, 12, points.shape).round(2)
    corner = rng.integers(1, 90, (count, 2)).astype(float)
    boxes = np.stack([corner, corner + (head / 0.6)[:, None] * np.array([0.6, 0.8])], 1)

    index, person = np.arange(count) + 7, np.ones(count)
    names = [f"{n:05d}.jpg" for n in range(count)]
    flags = np.where(labelled & ~hidden, 1.0, 0.0)
    people = [
        {
            "isValidation": 1.0,
            "img_paths": names[n],
            "objpos": [101.0, 201.0],
            "scale_provided": float(scale[n]),
            "joint_self": np.column_stack([points[n], flags[n]]).tolist(),
            "annolist_index": float(index[n]),
            "people_index": 1.0,
        }
        for n in range(count)
    ]
    other = {**people[0], "isValidation": 0.0, "img_paths": "train.jpg", "annolist_index": 999.0}
    (root / "mpii_annotations.json.gz").write_bytes(
        gzip.compress(json.dumps([other, *people]).encode(), mtime=0)
    )
    hrnet = [
        {
            "image": names[n],
            "center": [1.0, 1.0],
            "scale": float(scale[n]),
            "joints": np.where(labelled[n, :, None], points[n], -1).tolist(),
            "joints_vis": labelled[n].astype(int).tolist(),
        }
        for n in range(count)
    ]
    (root / "valid.json").write_text(json.dumps(hrnet))
    write_h5(
        root / "valid.h5",
        {
            "imgname": np.array(names, "S"),
            "part": points,
            "visible": flags,
            "center": np.ones((count, 2)),
            "scale": 1.25 * scale,
            "index": index - 1.0,
            "person": person - 1,
            "normalize": head,
        },
    )
    joint_names = np.empty((1, 16), object)
    joint_names[0] = MAT_NAMES
    scipy.io.savemat(
        root / "detections_our_format.mat",
        {
            "dataset_joints": joint_names,
            "jnt_missing": (~labelled.T).astype(np.uint8),
            "pos_gt_src": points.transpose(1, 2, 0),
            "pos_pred_src": worse.transpose(1, 2, 0),
            "headboxes_src": boxes.transpose(1, 2, 0),
        },
        do_compression=True,
    )
    write_h5(root / "valid-ours.h5", {"preds": good})
    return SimpleNamespace(
        root=root,
        points=points,
        labelled=labelled,
        hidden=hidden,
        head=head,
        good=good,
        worse=worse,
        ids=100 * index + 1,
        names=names,
        skeleton=MPII16,
    )


@pytest.fixture(scope="session")
def lsp(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """LSP's joints.mat of 1,030 people, so 30 of the test split, and LSPET's of 25."""
    root, rng = tmp_path_factory.mktemp("lsp"), np.random.default_rng(1)
    points = rng.uniform(1, 150, (1030, 14, 2))
    hidden = rng.random((1030, 14)) < 0.1
    joints = np.concatenate([points, hidden[..., None]], -1)
    scipy.io.savemat(root / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    labelled = rng.random((25, 14)) < 0.8
    extended = np.concatenate([np.where(labelled[..., None], points[:25], -99), labelled[..., None]], -1)
    scipy.io.savemat(root / "lspet.mat", {"joints": extended.transpose(1, 2, 0)})
    good = points[1000:] + rng.normal(0, 9, (30, 14, 2))
    scipy.io.savemat(root / "pred.mat", {"pred": good.transpose(2, 1, 0)})
    return SimpleNamespace(
        root=root,
        points=points[1000:],
        hidden=hidden[1000:],
        good=good,
        extended=points[:25],
        labelled=labelled,
        skeleton=LSP14,
    )


@pytest.fixture(scope="session")
def flic(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """FLIC's valid.h5 of 20 people."""
    root, rng, count = tmp_path_factory.mktemp("flic"), np.random.default_rng(2), 20
    points = rng.uniform(10, 400, (count, 11, 2))
    torso = rng.uniform(40, 90, count)
    write_h5(
        root / "valid.h5",
        {
            "imgname": np.array([f"film-{n}.jpg" for n in range(count)], "S"),
            "part": points,
            "visible": np.ones((count, 11)),
            "center": np.ones((count, 2)),
            "scale": np.full(count, 2.2),
            "index": np.arange(count),
            "person": np.zeros(count, np.int64),
            "normalize": torso,
        },
    )
    good = points + rng.normal(0, 9, points.shape)
    np.save(root / "good.npy", good)
    return SimpleNamespace(root=root, points=points, torso=torso, good=good, skeleton=FLIC11)


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """COCO annotations of 12 people in 6 pictures, one a crowd, one bare; results; our own file."""
    root, rng = tmp_path_factory.mktemp("coco"), np.random.default_rng(3)
    annotations, results = [], []
    points = rng.uniform(0, 90, (12, 17, 2)) + rng.uniform(0, 200, (12, 1, 2))
    flags = rng.choice([0, 1, 2], (12, 17), p=[0.2, 0.2, 0.6])
    flags[[4, 7]] = 0
    for n in range(12):
        low = points[n].min(0)
        annotations.append(
            {
                "id": 50 + n,
                "image_id": 900 - n // 2,
                "category_id": 1,
                "iscrowd": int(n == 4),
                "area": 2500.0,
                "bbox": [*low.tolist(), 90.0, 90.0],
                "num_keypoints": int((flags[n] > 0).sum()),
                "keypoints": np.column_stack([points[n] * (flags[n] > 0)[:, None], flags[n]])
                .ravel()
                .tolist(),
            }
        )
        found = points[n] + rng.normal(0, 5, (17, 2))
        results.append(
            {
                "image_id": 900 - n // 2,
                "category_id": 1,
                "keypoints": np.column_stack([found, np.ones(17)]).ravel().tolist(),
                "score": round(float(rng.random()), 4),
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": [[1, 2]]}
    pictures = [
        {"id": 900 - n, "file_name": f"{n}.jpg", "width": 400, "height": 400, "license": 1} for n in range(6)
    ]
    truth = {"info": {}, "images": pictures, "annotations": annotations, "categories": [category]}
    (root / "truth.json").write_text(json.dumps(truth))
    (root / "results.json").write_text(json.dumps(results))
    kept = [n for n in range(12) if n not in (4, 7)]
    own = np.array([np.array(results[n]["keypoints"]).reshape(17, 3)[:, :2] for n in kept])
    own_file(root / "own.json", COCO17, [50 + n for n in kept], [f"{n // 2}.jpg" for n in kept], own)
    return SimpleNamespace(
        root=root, truth=truth, results=results, points=points, flags=flags, skeleton=COCO17, kept=kept
    )
