"""SLEAP's labels: projects (`.slp`, also packages with their frames inside) and analysis files (HDF5).

A project is read by sleap-io, which SLEAP's authors keep; it is an extra. Only what a person labelled counts,
not what SLEAP predicted, and of that the points that are marked visible, as in SLEAP's own training. An
analysis file is a few plain arrays: every animal of every frame counts, whoever found it.

A frame of a video is called by the video and its number, such as `clip/000012.png`; `write_frames` writes
those pictures. Videos that are lists of pictures keep their names.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.core.extras import missing
from hourglass.core.structs import VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import Joints, Labelled, Point, annotations_of, picture_name
from hourglass.data.formats.read_files import check_file, read_hdf5

FORM = "sleap"

_ORDERS = ({"track": 0, "xy": 1, "node": 2, "frame": 3}, {"frame": 0, "track": 1, "node": 2, "xy": 3})
"""Axes of `tracks`: as SLEAP writes them, and sleap-io's other way."""


def is_analysis(content: Any) -> bool:
    """Whether an open HDF5 file is an analysis file."""
    return "tracks" in content and "node_names" in content


def read_slp(file: Path, category: str | None = None) -> Annotations:
    """The labelled animals of a project.

    Args:
        category: name of the skeleton, in projects with several.

    Raises ImportError naming the extra, ValueError naming the file and the frame.
    """
    check_file(file, "labels")
    labels = _load(file, open_videos=False)
    people, joints, predicted = [], {}, 0
    try:
        for frame in labels.labeled_frames:
            image = _frame_name(frame.video.filename, int(frame.frame_idx))
            predicted += len(frame.predicted_instances)
            for number, instance in enumerate(frame.user_instances, 1):
                skeleton = instance.skeleton
                kind = str(skeleton.name or "")
                joints[kind] = Joints(
                    [str(name) for name in skeleton.node_names],
                    _symmetries(skeleton),
                    [(skeleton.node_names[a], skeleton.node_names[b]) for a, b in skeleton.edge_inds],
                )
                where = f"{file}: {image}, animal {number}"
                xy = instance.numpy(invisible_as_nan=True)
                people.append(Labelled(where, image, _points(joints[kind].names, xy), kind=kind))
    except (AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{file} is not a SLEAP project that can be read ({error})") from error
    if not people:
        what = f"only {predicted} predictions; correct them in SLEAP first" if predicted else "nothing"
        raise ValueError(f"{file} holds no labels: {what}")
    log_left_out(file, {"animals that SLEAP predicted": predicted})
    return annotations_of(file, FORM, people, joints, category=category)


def read_analysis(file: Path, category: str | None = None) -> Annotations:
    """The animals of an analysis file, one for each track and frame with a point.

    Raises ValueError naming the file and the field.
    """
    check_file(file, "labels")
    arrays = read_hdf5(file)
    tracks, names = arrays["tracks"], [_text(name) for name in np.ravel(arrays["node_names"]).tolist()]
    if tracks.ndim != 4 or tracks.dtype.kind != "f":
        raise ValueError(
            f"{file}: 'tracks' is {tracks.dtype} of shape {tracks.shape}; expected 4 axes of numbers"
        )
    order = _order(file, tracks.shape, len(names))
    tracks = np.moveaxis(tracks, [order[axis] for axis in ("frame", "track", "node", "xy")], [0, 1, 2, 3])
    video = _text(arrays["video_path"].item()) if arrays.get("video_path") is not None else ""
    there = np.isfinite(tracks).all(axis=3).any(axis=2)
    people = []
    for frame, track in np.argwhere(there).tolist():
        image = _frame_name(video or file.name.split(".")[0], frame)
        where = f"{file}: frame {frame}, track {track}"
        people.append(Labelled(where, image, _points(names, tracks[frame, track])))
    edges = [[_text(end) for end in edge] for edge in np.atleast_2d(arrays.get("edge_names", [])).tolist()]
    limbs = [(edge[0], edge[1]) for edge in edges if len(edge) == 2]
    return annotations_of(file, FORM, people, {"": Joints(names, limbs=limbs)}, category=category)


def write_frames(file: Path, folder: Path) -> int:
    """Write the pictures that `read_slp` names, out of the project's videos or the package; gives how many.

    Those that are there already stay. Raises ValueError naming the video or the frame that can't be read.
    """
    from PIL import Image

    from hourglass.data.writers.shared import put

    labels, written = _load(file, open_videos=True), 0
    for frame in labels.labeled_frames:
        if not frame.user_instances or isinstance(frame.video.filename, list):
            continue
        picture = folder / _frame_name(frame.video.filename, int(frame.frame_idx))
        if picture.is_file():
            continue
        try:
            pixels = np.asarray(frame.video[int(frame.frame_idx)])
        except Exception as error:  # a decoder meets any bytes and raises what it likes
            raise ValueError(
                f"{file}: frame {frame.frame_idx} of {frame.video.filename} can't be read ({error}); put the "
                "video beside the project, or export a package with the frames inside"
            ) from error
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        put(picture, partial(image.save, format="PNG"))
        written += 1
    return written


def _load(file: Path, open_videos: bool) -> Any:
    try:
        import sleap_io
    except ImportError as error:
        raise ImportError(
            missing(f"{file}, a project of SLEAP,", "labels", error)
            + "; or export the labels as an analysis HDF5 file"
        ) from error
    try:
        return sleap_io.load_slp(str(file), open_videos=open_videos)
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(
            f"{file} is not a SLEAP project that can be read, or is cut off "
            f"({' '.join(str(error).split())[:200]})"
        ) from error


def _symmetries(skeleton: Any) -> list[tuple[str, str]] | None:
    """The pairs that SLEAP calls symmetric; None where the project tells none, so that names count."""
    names = [str(name) for name in skeleton.node_names]
    found = []
    for pair in skeleton.symmetries:
        rows = sorted({names.index(str(node.name)) for node in pair.nodes})
        if len(rows) == 2:
            found.append((names[rows[0]], names[rows[1]]))
    return list(dict.fromkeys(found)) or None


def _points(names: Any, xy: Any) -> dict[str, Point]:
    return {
        str(name): (float(x), float(y), VISIBLE)
        for name, (x, y) in zip(names, xy, strict=True)
        if np.isfinite([x, y]).all()
    }


def _frame_name(video: Any, frame: int) -> str:
    if isinstance(video, list):
        return picture_name(str(video[frame]))
    return f"{picture_name(str(video)).rpartition('/')[2].split('.')[0]}/{frame:06d}.png"


def _order(file: Path, shape: tuple[int, ...], nodes: int) -> dict[str, int]:
    import h5py

    with h5py.File(file, "r") as content:
        told = content["tracks"].attrs.get("dims")
    if told is not None:
        dims = json.loads(_text(told))
        if isinstance(dims, list) and sorted(map(str, dims)) == ["frame", "node", "track", "xy"]:
            order = {str(name): place for place, name in enumerate(dims)}
            if shape[order["xy"]] == 2 and shape[order["node"]] == nodes:
                return order
    for order in _ORDERS:
        if shape[order["xy"]] == 2 and shape[order["node"]] == nodes:
            return order
    raise ValueError(
        f"{file}: 'tracks' has the shape {shape}, which fits neither (tracks, 2, {nodes}, frames) nor "
        f"(frames, tracks, {nodes}, 2)"
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
