"""Any file of annotations, told by what is in it.

| file | people | read by |
|---|---|---|
| JSON list with `joint_self`, also `.gz` | MPII, train and val | `mpii.read_list` |
| JSON list with `joints_vis` | MPII, one split | `mpii.read_hrnet` |
| JSON object | COCO keypoints, any skeleton | `coco.parse` |
| `.h5` with `part` | MPII or FLIC, one split | `princeton_hdf5.read_authors_file` |
| `.mat` with `RELEASE` | MPII, train, val and test | `mpii_mat.read_official` |
| `.mat` with `joints` (3, 14, N) | LSP, train and test | `lsp.read_joints` |
| `.mat` with `joints` (14, 3, N) | LSPET, train, val and test | `lspet.read_joints` |

No pictures are needed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hourglass.data.formats.annotations import Annotations
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
    check_file(file, "annotations")
    name = file.name.lower()
    if name.endswith((".json", ".json.gz")):
        people = _from_json(file, split, category, content)
    elif name.endswith(".mat"):
        people = _from_mat(file, content)
    elif name.endswith((".h5", ".hdf5")):
        from hourglass.data.formats.princeton_hdf5 import read_authors_file

        people = read_authors_file(file)
    else:
        raise ValueError(f"{file}: annotations come as .mat, .h5, .json or .json.gz")
    if category is not None and people.form != "coco":
        raise ValueError(
            f"{file} is no COCO file and has no categories; leave the category {category!r} away"
        )
    if not len(people):
        raise ValueError(f"{file} holds nobody")
    return of_split(people, split)


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


def _from_json(file: Path, split: str, category: str | None, content: Any) -> Annotations:
    content = read_json(file) if content is None else content
    if isinstance(content, dict):
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
        from hourglass.data.formats.mpii_mat import read_official

        return read_official(file)
    if "joints" not in found:
        raise ValueError(
            f"{file} holds neither 'joints' (LSP) nor 'RELEASE' (MPII), only {listed(sorted(found))}"
        )
    if np.shape(found["joints"])[:2] == (14, 3):
        from hourglass.data.formats.lspet import read_joints as read_lspet

        return read_lspet(file)
    from hourglass.data.formats.lsp import read_joints as read_lsp

    return read_lsp(file)
