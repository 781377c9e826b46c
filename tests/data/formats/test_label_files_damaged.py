"""Damaged files of labelling tools are refused with one sentence that says where."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hourglass.data.formats.annotation_files import read_annotations
from label_files import copy_of_files, project_of_sleap


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """All the files, to be changed."""
    return copy_of_files(tmp_path)


# What is read, the file that is changed, what in it (everything where that is empty), into what, complaint.
BAD: dict[str, tuple[str, str, str, str, str]] = {
    "a word": (
        "single.csv",
        "single.csv",
        "33.25",
        "high",
        "line 4: snout y is 'high', not a num",
    ),
    "half a point": (
        "single.csv",
        "single.csv",
        ",33.25,",
        ",,",
        "line 4: only one of x and y of snout",
    ),
    "a short row": (
        "single.csv",
        "single.csv",
        "81.0,40.0,",
        "81.0,",
        "line 5 has 6 cells; the head has 7",
    ),
    "far away": (
        "single.csv",
        "single.csv",
        "33.25",
        "1e300",
        "snout is 1e.300, where no picture reach",
    ),
    "predictions": (
        "single.csv",
        "single.csv",
        "labeled-data/v1/img001.png",
        "17",
        "are predictions for a",
    ),
    "no head": (
        "single.csv",
        "single.csv",
        "coords,",
        "values,",
        "no lines 'bodyparts' and 'coords'",
    ),
    "a joint twice": (
        "single.csv",
        "single.csv",
        "leftear",
        "snout",
        "the head names snout x twice",
    ),
    "shares": (
        "single.csv",
        "single.csv",
        "",
        "scorer,a,a\nbodyparts,b,b\ncoords,x,y\na.png,0.5,0.25\nb.png,0.125,1\n",
        r"single\.csv: all labelled coordinates lie between 0 and 1",
    ),
    "another table": (
        "x.csv",
        "x.csv",
        "",
        "a,b\n1,2\n",
        "starts neither with 'scorer'",
    ),
    "another scorer": (
        "project",
        "project/config.yaml",
        "scorer: ana",
        "scorer: eva",
        "none of 'eva'",
    ),
    "no project": (
        "x.yaml",
        "x.yaml",
        "",
        "a: 1",
        "neither 'kpt_shape', .* nor 'bodyparts'",
    ),
    "bad YAML": (
        "x.yaml",
        "x.yaml",
        "",
        "a: [1",
        "is no readable YAML file",
    ),
    "a Python object": (
        "x.yaml",
        "x.yaml",
        "",
        "!!python/object/apply:os.getcwd []",
        "no readable YAML file",
    ),
    "cut off XML": (
        "images.xml",
        "images.xml",
        "</annotations>",
        "",
        "is no XML file that can be read",
    ),
    "an XML bomb": (
        "x.xml",
        "x.xml",
        "",
        '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotations>&d;</annotations>',
        "is no XML file that can be read",
    ),
    "CVAT for videos": (
        "x.xml",
        "x.xml",
        "",
        "<annotations><track/></annotations>",
        "CVAT's form for videos; export the task as",
    ),
    "a point of CVAT": (
        "images.xml",
        "images.xml",
        "12.0,33.0",
        "12.0",
        "'points' is '12.0', not pairs",
    ),
    "whose nose": (
        "points.xml",
        "points.xml",
        'xtl="10"',
        'xtl="20"',
        "nothing tells whose 'nose' at 15, 25",
    ),
    "a turned task": (
        "labelstudio.json",
        "labelstudio.json",
        '"image_rotation": 0',
        '"image_rotation": 90',
        "task 7, result 1: the picture was turned in Label Studio",
    ),
    "no size": (
        "labelstudio-min.json",
        "labelstudio-min.json",
        '"original_width": 200, "original_height": 100}],\n',
        '"a": 1}],\n',
        "'original_width' is None, not a number",
    ),
    "two noses": (
        "labelme",
        "labelme/a2.json",
        '"group_id": 2',
        '"group_id": 1',
        "'nose' is there twice",
    ),
    "a shape": (
        "labelme",
        "labelme/a2.json",
        "[[20, 30]]",
        "[[20]]",
        "shape 2: 'points' is not a list",
    ),
    "not a number": (
        "labelme",
        "labelme/a2.json",
        "[[20, 30]]",
        '[[20, "z"]]',
        "shape 2: y is 'z', not a",
    ),
    "which attribute": (
        "x.json",
        "x.json",
        "",
        '{"a": {"filename": "a", "regions": [{"shape_attributes": {"name": "point"}, '
        '"region_attributes": {"u": "1", "w": "2"}}]}}',
        "the points' attributes are u, w",
    ),
    "no attribute": (
        "via.json",
        "via.json",
        '"kp": "nose", "id": "1"',
        '"kp": ""',
        "'kp' is empty; name",
    ),
    "VIA 3": (
        "x.json",
        "x.json",
        "",
        '{"metadata": {}, "view": {}, "file": {}}',
        "a project of VIA 3",
    ),
    "YOLO's shape": (
        "yolo",
        "yolo/data.yaml",
        "[3, 3]",
        "[3]",
        r"'kpt_shape' is \[3\], not",
    ),
    "YOLO's flips": (
        "yolo",
        "yolo/data.yaml",
        "[0, 2, 1]",
        "[1, 2, 0]",
        "each joint must name its mirror",
    ),
    "YOLO's line": (
        "yolo",
        "yolo/labels/val/b.txt",
        "0.25 ",
        "",
        "line 1 has 13 numbers; .* make 14",
    ),
    "YOLO's flag": (
        "yolo",
        "yolo/labels/val/b.txt",
        "0.75 2",
        "0.75 3",
        "of keypoint_0 is 3; expected",
    ),
    "YOLO's pixels": (
        "yolo",
        "yolo/labels/val/b.txt",
        "0.25",
        "25",
        "shares of the picture's width",
    ),
    "YOLO's folder": (
        "yolo",
        "yolo/data.yaml",
        "images/train",
        "images/none",
        "which it names as 'train'",
    ),
    "one text file": (
        "yolo/labels/val/b.txt",
        "",
        "",
        "",
        "of YOLO-pose give the data.yaml",
    ),
    "no table": (
        "x.h5",
        "x.h5",
        "",
        "abc",
        "is not an HDF5 file that can be read",
    ),
    "no project of SLEAP": (
        "x.slp",
        "x.slp",
        "",
        "abc",
        "is not a SLEAP project that can be read",
    ),
    "nothing at all": (
        "labelme/sub",
        "labelme/sub/c.json",
        "",
        '{"shapes": [], "imagePath": "a"}',
        "labels no joint",
    ),
    "no labels here": (
        "yolo/images",
        "",
        "",
        "",
        "is a folder, not a file of annotations, and holds no",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_where(files: Path, name: str) -> None:
    file, changed, before, after, message = BAD[name]
    if changed:
        text = (files / changed).read_text() if before else ""
        assert before in text
        (files / changed).write_text(text.replace(before, after) if before else after)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_annotations(files / file)
    assert "\n" not in str(caught.value)
    assert Path(file).stem in str(caught.value)


def test_predictions_are_no_labels(files: Path) -> None:
    project_of_sleap(files / "mice.slp", user=False)
    with pytest.raises(ValueError, match=r"mice\.slp holds no labels: only 1 predictions"):
        read_annotations(files / "mice.slp")


@pytest.mark.parametrize("name", ["single.csv", "images.xml", "labels.h5", "mice.slp", "via.json", "via.csv"])
def test_damaged_copies_are_read_or_refused(files: Path, name: str) -> None:
    rng = np.random.default_rng(3)
    whole = np.frombuffer((files / name).read_bytes(), np.uint8)
    for _ in range(15):
        copy: npt.NDArray[np.uint8] = whole.copy()
        copy[rng.integers(0, len(copy), 4)] = rng.integers(0, 256, 4)
        length = int(rng.integers(1, len(copy))) if rng.random() < 0.3 else len(copy)
        (files / name).write_bytes(copy[:length].tobytes())
        with suppress(ValueError):
            read_annotations(files / name)
