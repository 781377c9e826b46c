"""Files of labelling tools, made and read by hand: every number here stands in a file of `labels/`, or is
written by a function below, as a tool would write it.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from hourglass.data.formats.annotations import Annotations

FOLDER = Path(__file__).parent / "data" / "formats" / "labels"

Person = tuple[str, dict[str, tuple[float, float, int]], tuple[float, ...] | None, str]
"""Picture, labelled joints, box, split."""

Wanted = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], list[Person]]
"""Form, joints, flip pairs, people."""

EARS = (("leftear", "rightear"),)

FILES: dict[str, Wanted] = {
    "single.csv": (
        "deeplabcut",
        ("snout", "leftear", "rightear"),
        EARS,
        [
            (
                "labeled-data/v1/img001.png",
                {"snout": (12.5, 33.25, 2), "leftear": (20, 30, 2), "rightear": (10, 31, 2)},
                None,
                "",
            ),
            ("labeled-data/v1/img002.png", {"leftear": (81, 40, 2)}, None, ""),
        ],
    ),
    "several.csv": (
        "deeplabcut",
        ("nose", "tail"),
        (),
        [
            ("labeled-data/arena/img10.png", {"nose": (1.5, 2, 2), "tail": (30, 40, 2)}, None, ""),
            ("labeled-data/arena/img10.png", {"nose": (100, 110, 2), "tail": (120, 130, 2)}, None, ""),
            ("labeled-data/arena/img11.png", {"nose": (101, 111, 2)}, None, ""),
        ],
    ),
    # The order of config.yaml, the labels of its scorer; the names of all videos below the project.
    "project": (
        "deeplabcut",
        ("tail", "snout"),
        (),
        [
            ("labeled-data/day/img1.png", {"snout": (1, 2, 2), "tail": (3, 4, 2)}, None, ""),
            ("labeled-data/night/img7.png", {"tail": (7, 8, 2)}, None, ""),
        ],
    ),
    "images.xml": (
        "cvat",
        ("nose", "ear.L", "ear.R"),
        (("ear.L", "ear.R"),),
        [
            ("day/a.jpg", {"nose": (12, 33, 2), "ear.R": (40.5, 20, 1)}, (10, 15, 40, 30), "train"),
            ("day/a.jpg", {"nose": (112, 133, 2)}, None, "train"),
        ],
    ),
    "points.xml": (
        "cvat",
        ("nose", "tail"),
        (),
        [
            ("a.jpg", {"nose": (15, 25, 2), "tail": (35, 45, 1)}, (10, 20, 30, 30), ""),
            ("a.jpg", {"nose": (115, 125, 2)}, (110, 120, 30, 30), ""),
        ],
    ),
    # 40.1 % of 300 and 20.2 % of 400.
    "labelstudio.json": (
        "labelstudio",
        ("nose", "tail"),
        (),
        [
            ("0a1b2c3d-a b.jpg", {"nose": (120.3, 80.8, 2), "tail": (150, 120, 2)}, (30, 80, 150, 100), ""),
            ("night/b.png", {"nose": (200, 50, 2)}, None, ""),
        ],
    ),
    "labelstudio-min.json": (
        "labelstudio",
        ("nose",),
        (),
        [("x/a.jpg", {"nose": (50, 50, 2)}, (0, 0, 100, 100), "")],
    ),
    # By name of the file, the numbers in it by size.
    "labelme": (
        "labelme",
        ("nose", "tail"),
        (),
        [
            ("../img/a2.jpg", {"nose": (120.5, 80.25, 2), "tail": (150, 200, 1)}, (90, 40, 110, 260), ""),
            ("../img/a2.jpg", {"nose": (20, 30, 2)}, None, ""),
            ("a10.jpg", {"tail": (1, 2, 2)}, None, ""),
            ("sub/c.jpg", {"nose": (3, 4, 2)}, None, ""),
        ],
    ),
    "labelme/a10.json": ("labelme", ("tail",), (), [("a10.jpg", {"tail": (1, 2, 2)}, None, "")]),
    "via.json": (
        "via",
        ("nose", "tail"),
        (),
        [
            ("a.jpg", {"nose": (12, 40, 2), "tail": (14, 44, 2)}, (10, 30, 20, 25), ""),
            ("a.jpg", {"nose": (112, 140, 1)}, None, ""),
        ],
    ),
    "via.csv": (
        "via",
        ("nose", "tail"),
        (),
        [("a.jpg", {"nose": (12, 40, 2), "tail": (14, 44, 2)}, None, "")],
    ),
    # Pictures of 200 x 100 and 40 x 40; a joint's place is a share of that.
    "yolo": (
        "yolo",
        ("keypoint_0", "keypoint_1", "keypoint_2"),
        (("keypoint_1", "keypoint_2"),),
        [
            (
                "images/train/a.png",
                {"keypoint_0": (60, 20, 2), "keypoint_1": (80, 50, 2), "keypoint_2": (100, 62.5, 1)},
                (60, 10, 80, 80),
                "train",
            ),
            ("images/train/a.png", {"keypoint_1": (150, 100, 2)}, (0, 0, 100, 50), "train"),
            ("images/val/b.png", {"keypoint_0": (10, 30, 2)}, (0, 0, 40, 40), "val"),
        ],
    ),
    "labels.h5": (
        "deeplabcut",
        ("snout", "tail"),
        (),
        [
            ("labeled-data/v1/img1.png", {"snout": (12.5, 33, 2), "tail": (80, 41, 2)}, None, ""),
            ("labeled-data/v1/img2.png", {"tail": (81, 40, 2)}, None, ""),
        ],
    ),
    "clip.analysis.h5": (
        "sleap",
        ("nose", "ear_l", "ear_r"),
        (("ear_l", "ear_r"),),
        [
            ("clip/000000.png", {"nose": (10, 20, 2), "ear_l": (11, 21, 2), "ear_r": (12, 22, 2)}, None, ""),
            ("clip/000002.png", {"ear_r": (32, 42, 2)}, None, ""),
        ],
    ),
    "mice.slp": (
        "sleap",
        ("nose", "ear_a", "ear_b"),
        (("ear_a", "ear_b"),),
        [("clip/000005.png", {"nose": (1.5, 2.5, 2), "ear_a": (30, 40, 2)}, None, "")],
    ),
}


def table_of_pandas(file: Path, several_columns: bool = False) -> None:
    """What pandas writes of DeepLabCut's table, with the pictures' names in one column or several."""
    values = np.array([[12.5, 33, 80, 41], [np.nan, np.nan, 81, 40]])

    def levels(group: Any, axis: str, names: list[tuple[str, list[bytes], list[int]]]) -> None:
        for n, (name, words, rows) in enumerate(names):
            level = group.create_dataset(f"{axis}_level{n}", data=np.array(words))
            level.attrs["name"] = np.bytes_(name)
            group.create_dataset(f"{axis}_label{n}", data=np.array(rows, np.int8))

    with h5py.File(file, "w") as content:
        group = content.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame")
        group.attrs["axis1_variety"] = np.bytes_("multi" if several_columns else "regular")
        # A pickle, as PyTables keeps Python objects in: it must never be opened.
        group.attrs["info"] = np.void(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
        head = [
            ("scorer", [b"ana"], [0] * 4),
            ("bodyparts", [b"snout", b"tail"], [0, 0, 1, 1]),
            ("coords", [b"x", b"y"], [0, 1, 0, 1]),
        ]
        levels(group, "axis0", head)
        levels(group, "block0_items", head)
        group.create_dataset("block0_values", data=values)
        if several_columns:
            rows = [("0", [b"labeled-data"], [0, 0]), ("1", [b"v1"], [0, 0])]
            levels(group, "axis1", [*rows, ("2", [b"img1.png", b"img2.png"], [0, 1])])
        else:
            names = [b"labeled-data/v1/img1.png", b"labeled-data/v1/img2.png"]
            group.create_dataset("axis1", data=np.array(names))


def analysis(file: Path, standard: bool = False) -> None:
    """One track over three frames: (tracks, 2, nodes, frames), or sleap-io's (frames, tracks, nodes, 2)."""
    tracks = np.full((1, 2, 3, 3), np.nan)
    tracks[0, :, :, 0] = [[10, 11, 12], [20, 21, 22]]
    tracks[0, :, 2, 2] = [32, 42]
    with h5py.File(file, "w") as content:
        content["tracks"] = tracks.transpose(3, 0, 2, 1) if standard else tracks
        if standard:
            content["tracks"].attrs["dims"] = json.dumps(["frame", "track", "node", "xy"])
        content["node_names"] = np.array([b"nose", b"ear_l", b"ear_r"])
        content["video_path"] = "C:\\videos\\clip.mp4"


def project_of_sleap(file: Path, user: bool = True, clip: str = "/home/ana/clip.mp4") -> None:
    """A project of SLEAP's format 1.2 with one labelled and one predicted animal in frame 5."""
    nodes = [{"name": name, "weight": 1.0} for name in ("nose", "ear_a", "ear_b")]
    skeleton = {
        "directed": True,
        "graph": {"name": "mouse", "num_edges_inserted": 1},
        "links": [
            {
                "edge_insert_idx": 0,
                "key": 0,
                "source": 0,
                "target": 1,
                "type": {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]},
            },
            {
                "key": 0,
                "source": 1,
                "target": 2,
                "type": {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [2]}]},
            },
        ],
        "multigraph": True,
        "nodes": [{"id": n} for n in range(3)],
    }
    metadata = {
        "version": "2.0.0",
        "skeletons": [skeleton],
        "nodes": nodes,
        "videos": [],
        "tracks": [],
        "suggestions": [],
        "negative_anchors": {},
        "provenance": {},
    }
    video = {"backend": {"type": "MediaVideo", "filename": clip, "grayscale": False}}
    instance = np.dtype(
        [
            ("instance_id", "i8"),
            ("instance_type", "u1"),
            ("frame_id", "u8"),
            ("skeleton", "u4"),
            ("track", "i4"),
            ("from_predicted", "i8"),
            ("score", "f4"),
            ("point_id_start", "u8"),
            ("point_id_end", "u8"),
            ("tracking_score", "f4"),
        ]
    )
    frame = np.dtype(
        [
            ("frame_id", "u8"),
            ("video", "u4"),
            ("frame_idx", "u8"),
            ("instance_id_start", "u8"),
            ("instance_id_end", "u8"),
        ]
    )
    point = np.dtype([("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")])
    predicted = np.dtype([("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?"), ("score", "f8")])
    kinds = [0, 1] if user else [1]
    rows = [(n, kind, 0, 0, -1, -1, 0.5, 0, 3, 0) for n, kind in enumerate(kinds)]
    with h5py.File(file, "w") as content:
        group = content.create_group("metadata")
        group.attrs["format_id"] = 1.2
        group.attrs["json"] = np.bytes_(json.dumps(metadata))
        content["videos_json"] = np.array([json.dumps(video).encode()])
        content["tracks_json"] = np.zeros(0, "S1")
        content["suggestions_json"] = np.zeros(0, "S1")
        content["frames"] = np.array([(0, 0, 5, 0, len(rows))], frame)
        content["instances"] = np.array(rows, instance)
        # The last one is placed, but marked as not visible: nobody labelled it.
        content["points"] = np.array(
            [(1.5, 2.5, True, True), (30, 40, True, True), (7, 8, False, False)], point
        )
        content["pred_points"] = np.array([(50, 60, True, True, 0.5)] * 3, predicted)


MADE: dict[str, Callable[[Path], None]] = {
    "labels.h5": table_of_pandas,
    "clip.analysis.h5": analysis,
    "mice.slp": project_of_sleap,
}


def copy_of_files(folder: Path) -> Path:
    """A copy of `labels/` with the pictures of YOLO's set and the files that aren't text."""
    root = folder / "labels"
    shutil.copytree(FOLDER, root)
    for name, size in (("train/a.png", (200, 100)), ("val/b.png", (40, 40)), ("val/bare.png", (9, 9))):
        picture = root / "yolo" / "images" / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(picture)
    for name, make in MADE.items():
        make(root / name)
    return root


def told(people: Annotations) -> list[Person]:
    """The people as `FILES` writes them down."""
    boxes = np.full((len(people), 4), np.nan) if people.box is None else people.box
    found: list[Person] = []
    for n, (name, split) in enumerate(zip(people.names, people.splits, strict=True)):
        points = {
            joint: (float(x), float(y), int(seen))
            for joint, (x, y), seen in zip(
                people.skeleton.joints, people.keypoints[n], people.visibility[n], strict=True
            )
            if seen
        }
        box = None if np.isnan(boxes[n]).any() else tuple(boxes[n].tolist())
        found.append((name, points, box, split))
    return found


def check(found: Sequence[Person], wanted: Sequence[Person]) -> None:
    assert [(name, split) for name, _, _, split in found] == [(name, split) for name, _, _, split in wanted]
    for (_, points, box, _), (name, by_hand, its_box, _) in zip(found, wanted, strict=True):
        assert points.keys() == by_hand.keys(), name
        for joint, point in by_hand.items():
            assert points[joint] == pytest.approx(point), (name, joint)
        assert (box is None) == (its_box is None), name
        assert box is None or box == pytest.approx(its_box), name
