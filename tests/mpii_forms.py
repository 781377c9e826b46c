"""The same people of MPII in every form of its annotations, small and written by hand."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

# Rows of MPII's joints: the order in every form of the annotations.
ANKLE, KNEE, HIP, NECK, TOP = 0, 1, 2, 8, 9
STICK_PX = 100.0
"""Neck to head top of the person below: what a raw scale of 3 means, as 3 x 100 / 3."""


def person(**changes: Any) -> dict[str, Any]:
    """A validation person of raw scale 3 in the one-list form: hidden knee, unlabelled hip."""
    joints = [[50.0 + 10 * j, 400.0 - 10 * j, 1.0] for j in range(16)]
    joints[ANKLE] = [11, 21.5, 1]
    joints[KNEE][2] = 0
    joints[HIP] = [0, 0, 0]
    joints[NECK], joints[TOP] = [200, 180, 1], [260, 100, 1]
    entry = {
        "isValidation": 1.0,
        "img_paths": "a.jpg",
        "objpos": [101.0, 201.0],
        "scale_provided": 3.0,
        "joint_self": joints,
        "annolist_index": 7.0,
        "people_index": 2.0,
        "numOtherPeople": 0.0,
    }
    return entry | changes


def hrnet(entry: dict[str, Any]) -> dict[str, Any]:
    """The same person as HRNet's files have people: what is hidden isn't told, what is missing lies at -1."""
    joints = np.array(entry["joint_self"])
    labelled = (joints[:, :2] != 0).any(1)
    return {
        "image": entry["img_paths"],
        "center": entry["objpos"],
        "scale": entry["scale_provided"],
        "joints": np.where(labelled[:, None], joints[:, :2], -1).tolist(),
        "joints_vis": labelled.astype(int).tolist(),
    }


def hdf5(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The same people as the authors' file has them, whose centre and scale are adjusted."""
    joints = np.array([e["joint_self"] for e in entries])
    scale = np.array([e["scale_provided"] for e in entries])
    center = np.array([e["objpos"] for e in entries])
    return {
        "imgname": np.array([e["img_paths"] for e in entries], "S"),
        "part": np.trunc(joints[..., :2]),
        "visible": joints[..., 2],
        "center": np.stack([center[:, 0], center[:, 1] + 15 * scale], 1),
        "scale": 1.25 * scale,
        "index": np.array([e["annolist_index"] - 1 for e in entries]),
        "person": np.array([e["people_index"] - 1 for e in entries]),
    }


def write(file: Path, content: Any) -> Path:
    """Write any of the forms, by its suffix; returns the root, which gets the pictures a.jpg to d.jpg."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".h5":
        with h5py.File(file, "w") as out:
            for key, value in content.items():
                out[key] = value
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress(json.dumps(content).encode()))
    else:
        file.write_text(json.dumps(content))
    root = file.parent.parent if file.parent.name == "annot" else file.parent
    (root / "images").mkdir(exist_ok=True)
    for name in "abcd":
        (root / "images" / f"{name}.jpg").touch()
    return root


def write_list(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "mpii_annotations.json", list(entries))


def write_hrnet(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "annot" / "valid.json", [hrnet(e) for e in entries])


def write_hdf5(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "annot" / "valid.h5", hdf5(list(entries)))


FORMS: dict[str, Callable[..., Path]] = {"list": write_list, "hrnet": write_hrnet, "hdf5": write_hdf5}


def structures(*elements: dict[str, Any]) -> Any:
    """A structure array as MATLAB has it: (1, k), all elements with the same fields."""
    found = np.empty((1, len(elements)), [(name, object) for name in elements[0]])
    for n, element in enumerate(elements):
        found[0, n] = tuple(element.values())
    return found


def write_official(root: Path, place: str, x: float = 101.0) -> Path:
    """MPII's own file: b.jpg is a picture to train on, c.jpg one to test on, and a.jpg, the 7th, of val."""
    joints = structures(*({"x": 20.0 + n, "y": 30.0, "id": float(n), "is_visible": 1.0} for n in range(3)))
    rect = {"scale": 3.0, "objpos": {"x": x, "y": 201.0}}
    marked = structures(rect | {"annopoints": {"point": joints}})
    rects = [marked, structures(rect), *[np.zeros((0, 0))] * 4, marked]
    pictures = structures(
        *({"image": {"name": f"{n}.jpg"}, "annorect": r} for n, r in zip("bcdddda", rects, strict=True))
    )
    release = {"annolist": pictures, "img_train": np.array([[1, 0, 1, 1, 1, 1, 1]])}
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / place, {"RELEASE": release})
    (root / "images").mkdir(exist_ok=True)
    for name in "abcd":
        (root / "images" / f"{name}.jpg").touch()
    return root
