"""Any file of annotations, or a labelling tool's folder, told by what is in it.

| file | people | read by |
|---|---|---|
| JSON list with `joint_self`, also `.gz` | MPII, train and val | `mpii.read_list` |
| JSON list with `joints_vis` | MPII, one split | `mpii.read_hrnet` |
| JSON object | COCO keypoints, any skeleton | `coco.parse` |
| `.h5` with `part` | MPII or FLIC, one split | `princeton_hdf5.read_authors_file` |
| `.mat` with `RELEASE` | MPII, train, val and test | `mpii_mat.read_official` |
| `.mat` with `joints` (3, 14, N) | LSP, train and test | `lsp.read_lsp` |
| `.mat` with `joints` (14, 3, N) | LSPET, train, val and test | `lsp.read_lspet` |
| CSV or `.h5` of DeepLabCut or Lightning Pose, a DeepLabCut project | any | `formats.deeplabcut` |
| `.slp`, `.h5` with `tracks` | any | `formats.sleap` |
| XML | CVAT | `formats.cvat` |
| JSON list of tasks | Label Studio | `formats.labelstudio` |
| JSON object with `shapes`, or a folder of them | labelme | `formats.labelme` |
| JSON or CSV with regions | VIA 2 | `formats.via` |
| YAML with `kpt_shape`, or its folder | YOLO-pose | `formats.yolo` |

No pictures are needed, but for YOLO-pose, whose files don't tell their sizes.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.core.structs import PersonRecord
from hourglass.data.formats import labelme, via
from hourglass.data.formats.annotations import LABEL_FORMS, Annotations
from hourglass.data.formats.labelstudio import is_labelstudio
from hourglass.data.formats.picture_places import records_of
from hourglass.data.formats.read_files import check_file, listed, read_json, read_mat

_SPLITS = {
    "mpii-list": ("MPII's list", ("train", "val")),
    "mpii-mat": ("MPII", ("train", "val", "test")),
    "lsp": ("LSP", ("train", "test")),
    "lspet": ("LSPET", ("train", "val", "test")),
}
"""What files of a form may hold, whether this one does or not."""


def read_annotations(
    file: Path, split: str = "", category: str | None = None, content: Any = None
) -> Annotations:
    """The people of one split in their file's order, or everybody.

    Args:
        split: for files with several, one of theirs; "" and `all` are everybody. HRNet's files don't tell
            theirs, so this says it. Others that don't tell any only take "".
        category: of a COCO file with several; None is the only one with keypoints.
        content: what `read_files.read_json` or `read_files.read_mat` found in it, where that has been asked
            already.

    Raises ValueError or FileNotFoundError naming the file, the row and the field.
    """
    people = _read(file, split, category, content)
    if category is not None and people.form != "coco" and people.form not in LABEL_FORMS:
        raise ValueError(
            f"{file} is no COCO file and has no categories; leave the category {category!r} away"
        )
    if not len(people):
        raise ValueError(f"{file} holds nobody")
    return of_split(people, split)


def is_coco(content: Any) -> bool:
    """Whether a JSON file's content is to be read as COCO's: an object that isn't a labelling tool's own."""
    return isinstance(content, dict) and not labelme.is_labelme(content) and not via.is_via(content)


def coco_content(file: Path) -> Any:
    """What a COCO file holds; None of a file of any other form.

    Raises ValueError naming a file that can't be read.
    """
    if not file.is_file() or not file.name.lower().endswith((".json", ".json.gz")):
        return None
    try:
        with gzip.open(file) as packed:
            start = packed.read(4096)
    except (OSError, EOFError):
        with file.open("rb") as plain:
            start = plain.read(4096)
    # A list, as MPII's files are, may be large: it is read once, by who takes it.
    if not start.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{"):
        return None
    content = read_json(file)
    return content if is_coco(content) else None


def _read(file: Path, split: str, category: str | None, content: Any) -> Annotations:
    if file.is_dir():
        return _from_folder(file, category)
    check_file(file, "annotations")
    name = file.name.lower()
    if name.endswith((".json", ".json.gz")):
        return _from_json(file, split, category, content)
    if name.endswith(".mat"):
        return _from_mat(file, content)
    if name.endswith((".h5", ".hdf5")):
        return _from_hdf5(file, category)
    if name.endswith((".yaml", ".yml")):
        return _from_yaml(file, category)
    if name.endswith(".csv"):
        return _from_csv(file, category)
    if name.endswith(".slp"):
        from hourglass.data.formats.sleap import read_slp

        return read_slp(file, category)
    if name.endswith(".xml"):
        from hourglass.data.formats.cvat import read_xml

        return read_xml(file, category)
    hints = {".txt": "; of YOLO-pose give the data.yaml", ".zip": "; unpack it and give what is in it"}
    raise ValueError(
        f"{file}: annotations come as .json, .json.gz, .h5, .mat, .csv, .yaml, .xml or .slp"
        f"{hints.get(file.suffix.lower(), '')}"
    )


def of_split(people: Annotations, split: str) -> Annotations:
    """Those of one split; "" and `all` are everybody.

    Raises ValueError naming the file and the splits that it has.
    """
    if not split:
        return people
    has = [its for its in dict.fromkeys(people.splits) if its]
    if people.form in _SPLITS:
        what, possible = _SPLITS[people.form]
        if split not in (*possible, "all"):
            raise ValueError(
                f"{people.file}: {what} has no split {split!r}; it has {', '.join(possible)}, all"
            )
    elif not has:
        raise ValueError(f"{people.file} is one split by itself; leave --split {split} away")
    if split == "all":
        return people
    rows = [n for n, its in enumerate(people.splits) if its == split]
    if not rows:
        raise ValueError(
            f"{people.file} holds nobody of the {split} split, only {len(people)} people of {listed(has)}"
        )
    return people.take(rows)


def _from_folder(folder: Path, category: str | None) -> Annotations:
    """A DeepLabCut project or one of its folders of labels, a YOLO data set, or labelme's files."""
    from hourglass.data.formats import deeplabcut

    for name in ("config.yaml", "data.yaml", "dataset.yaml"):
        if (folder / name).is_file():
            return _from_yaml(folder / name, category)
    for ending in ("csv", "h5"):
        if labels := sorted(folder.glob(f"CollectedData_*.{ending}")):
            if len(labels) > 1:
                raise ValueError(
                    f"{folder} holds labels of several people; give one: {listed([f.name for f in labels])}"
                )
            return (
                deeplabcut.read_csv(labels[0], category)
                if ending == "csv"
                else _from_hdf5(labels[0], category)
            )
    if not labelme.files_below(folder):
        raise ValueError(
            f"{folder} is a folder, not a file of annotations, and holds no config.yaml (DeepLabCut), no "
            "data.yaml (YOLO-pose) and no JSON files (labelme)"
        )
    return labelme.read_folder(folder, category)


def _from_yaml(file: Path, category: str | None) -> Annotations:
    from hourglass.data.formats import deeplabcut, yolo
    from hourglass.data.formats.read_files import read_yaml

    content = read_yaml(file)
    if isinstance(content, dict) and yolo.is_yolo(content):
        return yolo.read_data_yaml(file, category)
    if isinstance(content, dict) and deeplabcut.is_project(content):
        return deeplabcut.read_project(file, category)
    raise ValueError(
        f"{file} has neither 'kpt_shape', as YOLO's data.yaml for poses, nor 'bodyparts', as a DeepLabCut "
        "project's config.yaml"
    )


def _from_csv(file: Path, category: str | None) -> Annotations:
    from hourglass.data.formats import deeplabcut

    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        head = stream.readline(100_000)
    if "region_shape_attributes" in head:
        return via.read_csv(file, category)
    if head.startswith("scorer") or head.startswith("bodyparts"):
        return deeplabcut.read_csv(file, category)
    raise ValueError(
        f"{file} starts neither with 'scorer', as CSV of DeepLabCut and Lightning Pose does, nor with VIA's "
        "columns"
    )


def _from_hdf5(file: Path, category: str | None) -> Annotations:
    import h5py

    from hourglass.data.formats import deeplabcut, sleap

    try:
        with h5py.File(file, "r") as content:
            is_analysis, is_table = sleap.is_analysis(content), deeplabcut.is_hdf5(content)
    except Exception:  # told by whoever reads it
        is_analysis = is_table = False
    if is_analysis:
        return sleap.read_analysis(file, category)
    if is_table:
        return deeplabcut.read_hdf5(file, category)
    from hourglass.data.formats.princeton_hdf5 import read_authors_file

    return read_authors_file(file)


def _from_json(file: Path, split: str, category: str | None, content: Any) -> Annotations:
    content = read_json(file) if content is None else content
    if labelme.is_labelme(content):
        return labelme.read_file(file, category, content)
    if via.is_via(content):
        return via.read_export(file, category, content)
    if is_labelstudio(content):
        from hourglass.data.formats import labelstudio

        return labelstudio.read_export(file, category, content)
    if isinstance(content, dict):
        if {"metadata", "view", "file"} <= content.keys():
            raise ValueError(
                f"{file} is a project of VIA 3, which isn't read; label in VIA 2 or export as COCO"
            )
        from hourglass.data.formats.coco import parse

        return parse(content, file, category).people
    from hourglass.data.formats.mpii import read_hrnet, read_list

    if not isinstance(content, list) or not content or not all(isinstance(e, dict) for e in content):
        raise ValueError(f"{file} holds no annotations: neither a COCO object nor a list of people")
    if "joint_self" in content[0]:
        return read_list(file, content)
    if "joints_vis" in content[0]:
        return read_hrnet(file, split, content)
    if "image_id" in content[0]:
        raise ValueError(f"{file} holds COCO results, which are predictions, not annotations")
    raise ValueError(f"{file}: row 0 has neither 'joint_self' (MPII's list) nor 'joints_vis' (HRNet's)")


def _from_mat(file: Path, content: Any) -> Annotations:
    found = read_mat(file) if content is None else content
    if "RELEASE" in found:
        from hourglass.data.formats.mpii import read_official

        return read_official(file)
    if "joints" not in found:
        raise ValueError(
            f"{file} holds neither 'joints' (LSP) nor 'RELEASE' (MPII), only {listed(sorted(found))}"
        )
    if np.shape(found["joints"])[:2] == (14, 3):
        from hourglass.data.formats.lsp import read_lspet

        return read_lspet(file)
    from hourglass.data.formats.lsp import read_lsp

    return read_lsp(file)


def load_records(
    annotations: Path,
    images: Path | None = None,
    category: str | None = None,
    *,
    split: str = "",
    sides: str = "",
    crop: str = "",
) -> list[PersonRecord]:
    """The annotated people, in the file's order.

    Args:
        annotations: a file that `annotation_files.read_annotations` tells, or a labelling tool's folder.
        images: the folder that the pictures' names start from; None looks near the file.
        category: as of `read_annotations`.
        split: only these people, in a file that tells any splits; of others everybody.
        sides: `observer` makes left and right those of who looks at the picture, see `data.sides`.
        crop: `limbs` takes its side from the limbs' lengths, see `data.formats.person_scale`.

    Raises ValueError or FileNotFoundError naming the file, the person and the field.
    """
    people = read_annotations(annotations, category=category)
    if split and any(people.splits):
        people = of_split(people, split)
    return records_of(people, images, sides, crop)
