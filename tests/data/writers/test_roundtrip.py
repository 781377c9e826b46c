"""Annotations to COCO and back, and each native form to itself: every number, to the last bit."""

import gzip
import json
import tempfile
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations, records
from hourglass.data.formats.coco import parse
from hourglass.data.formats.coco import read_annotations as read_coco
from hourglass.data.writers.coco import restored, to_coco
from hourglass.data.writers.shared import Losses
from hourglass.data.writers.write import ReadPeople, read_source, write_people

# Form, --to, file name, skeletons with their origin.
NATIVE = {
    "mpii-list": ("mpii", "mpii_annotations.json.gz", [(MPII16, 1)]),
    "mpii-hrnet": ("hrnet", "valid.json", [(MPII16, 1)]),
    "authors-hdf5": ("authors", "valid.h5", [(MPII16, 1), (FLIC11, 0)]),
    "lsp": ("lsp", "joints.mat", [(LSP14, 1)]),
    "lspet": ("lspet", "joints.mat", [(LSP14, 1)]),
}
PER_FILE = ("file", "where", "what", "image", "images")
"""Fields that tell of the file they were read from."""


def assert_same(found: Annotations, wanted: Annotations, but: tuple[str, ...] = ()) -> None:
    for part in fields(Annotations):
        if part.name not in (*PER_FILE, *but):
            same_value(getattr(found, part.name), getattr(wanted, part.name), part.name)


def same_value(found: Any, wanted: Any, name: str) -> None:
    if isinstance(wanted, Mapping):
        assert list(found) == list(wanted), name
        for key in wanted:
            same_value(found[key], wanted[key], f"{name}: {key}")
    elif isinstance(wanted, np.ndarray):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
        if wanted.dtype == object:
            assert found.tolist() == wanted.tolist(), name
            return
        np.testing.assert_array_equal(found, wanted, err_msg=name)
        if wanted.dtype.kind == "f":
            known = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]), err_msg=name)
    elif isinstance(wanted, (list, tuple)):
        assert list(found) == list(wanted), name
    else:
        assert found == wanted, name


def through_coco(people: Annotations) -> Annotations:
    content = json.loads(json.dumps(to_coco(people), allow_nan=False))
    return restored(parse(content, Path("people.json")), content)


def through(people: Annotations, folder: Path, target: str, name: str) -> Annotations:
    """Written and read again; nothing may be lost on the way."""
    losses = Losses()
    write_people(people, folder / name, target, ReadPeople(people), losses, force=True)
    # An HRNet file can't say which split it is.
    return read_source(folder / name).people


ODD = (0.1, -1.7, 637.02, 1.0, 1e-12, 982.7591, -322.16553020923084, 0.0)
"""Coordinates that moving the origin by 1 blurs, among others."""


@st.composite
def annotated(
    draw: st.DrawFn, form: str, skeleton: Skeleton, origin: int, boxes: bool = False
) -> Annotations:
    """People as no reader would make them worse: odd coordinates, garbage beside unlabelled joints."""
    count = draw(st.integers(1, 4))
    joints = len(skeleton)

    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def floats(values: list[float], *shape: int) -> Any:
        return rng.choice(values, shape)

    coordinate = [*ODD, *rng.uniform(-400, 3000, 9), *rng.uniform(-2, 2, 9), *rng.integers(0, 1000, 20)]
    anything = [*coordinate, np.nan, np.inf, -np.inf, -0.0, 0.0]
    positive = rng.uniform(0.3, 4000, 20).tolist()
    some = [0.0, 1.0]
    flags = [0, 1, 2] if form != "lsp" else [1, 2]
    if form in ("mpii-hrnet", "lspet"):
        flags = [0, 2]
    visibility = floats([float(flag) for flag in flags], count, joints).astype(np.uint8)
    keypoints = floats(coordinate, count, joints, 2)
    rest = floats(anything, count, joints, 2)
    keypoints = np.where((visibility > 0)[..., None], keypoints, rest)
    scale = floats(rng.uniform(0.05, 12, 9).round(3).tolist(), count)
    box = area = crowd = None
    if boxes:
        box = floats(coordinate, count, 4)
        box[:, 2:] = np.abs(box[:, 2:])
        box[floats(some, count) == 1] = np.nan
        area = np.where(floats(some, count) == 1, np.nan, floats(positive, count))
        crowd = floats(some, count) == 1
        box, area = (None if np.isnan(part).all() else part for part in (box, area))
    ids = draw(st.lists(st.integers(1, 10**7), min_size=count, max_size=count, unique=True))
    side_px = 250 * scale
    center = floats(coordinate, count, 2)
    if form not in ("authors-hdf5", "mpii-list", "mpii-hrnet"):
        lost = floats([0.0, *some], count) == 1
        side_px[lost], center[lost] = np.nan, np.nan
    return Annotations(
        file=Path("people.x"),
        form=form,
        what="people",
        skeleton=skeleton,
        where=[f"row {n}" for n in range(count)],
        names=[draw(st.sampled_from(["a.jpg", "b/ü.png"])) for _ in range(count)],
        ids=np.array(ids, np.int64),
        splits=[""] * count,
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=form not in ("mpii-hrnet", "lspet"),
        origin=origin,
        center=center,
        side_px=side_px,
        lengths={"head": floats(positive, count), "none": np.full(count, np.nan)},
        box=box,
        area=area,
        crowd=crowd,
        columns={
            "f4": floats(positive, count, 2).astype(np.float32),
            "i8": np.arange(count) - 2**62,
            "text": np.array(["ä"] * count),
            "bytes": np.array([b"\xff1"] * count),
            "odd": floats(anything, count),
            "lists": np.fromiter([[{"a": [n, 0.5]}, None] for n in range(count)], object, count),
        },
    )


@pytest.mark.parametrize(
    ("form", "skeleton", "origin"),
    [("lspet", LSP14, 1), ("mpii-mat", MPII16, 1), ("authors-hdf5", FLIC11, 0)],
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_coco_gives_back_every_number(
    form: str, skeleton: Skeleton, origin: int, data: st.DataObject
) -> None:
    people = data.draw(annotated(form, skeleton, origin))
    assert_same(through_coco(people), people)


@settings(max_examples=25, deadline=None)
@given(people=annotated("coco", COCO17, 0, boxes=True))
def test_coco_gives_back_boxes_areas_and_crowds(people: Annotations) -> None:
    # What is no number can't stand beside a 0 in COCO, and who has no crop can't be told from who has a box.
    people = replace(people, keypoints=np.nan_to_num(people.keypoints, posinf=0, neginf=0), columns={})
    assert_same(through_coco(people), people)


@pytest.mark.parametrize(
    ("form", "case"), [(form, n) for form in NATIVE for n in range(len(NATIVE[form][2]))]
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_native_forms_give_back_every_number(form: str, case: int, data: st.DataObject) -> None:
    target, name, skeletons = NATIVE[form]
    skeleton, origin = skeletons[case]
    drawn = data.draw(annotated(form, skeleton, origin))
    splits = ["train" if form == "mpii-list" else ""] * len(drawn)
    drawn = replace(drawn, columns={}, splits=splits)
    corner = (drawn.keypoints == 0).all(axis=2) & drawn.labelled
    assume(not corner.any() or form in ("mpii-hrnet", "lsp", "lspet"))
    assume(form != "authors-hdf5" or (drawn.ids % 100 > 0).all() & (drawn.ids > 100).all())
    with tempfile.TemporaryDirectory() as folder:
        try:
            once = through(drawn, Path(folder), target, name)
        except ValueError as error:
            assume("heads are as long beside" not in str(error))
            raise
        again = through(once, Path(folder), target, name)
        back = through(through_coco(once), Path(folder), target, name)
    assert_same(again, once)
    assert_same(back, once)
    for part in ("visibility", "splits") if form not in ("lsp", "lspet") else ("visibility",):
        same_value(getattr(once, part), getattr(drawn, part), part)
    same_value(once.keypoints[once.labelled], drawn.keypoints[drawn.labelled], "keypoints")
    if form not in ("lsp", "lspet"):
        same_value(once.names, drawn.names, "names")
        np.testing.assert_allclose(once.center, drawn.center, rtol=0, atol=1e-9)
        np.testing.assert_allclose(once.side_px, drawn.side_px, rtol=1e-12)
    if form in ("mpii-list", "authors-hdf5"):
        same_value(once.ids, drawn.ids, "ids")


REAL: list[Any] = [
    ("lsp/joints.mat", "lsp", "joints.mat"),
    ("lspet/joints.mat", "lspet", "joints.mat"),
    pytest.param("mpii/mpii_annotations.json.gz", "mpii", "mpii_annotations.json", marks=pytest.mark.slow),
    ("mpii/test_mpii.json", "hrnet", "valid.json"),
    ("mpii/valid.h5", "authors", "valid.h5"),
    ("flic/annot/train.h5", "authors", "train.h5"),
    ("flic/annot/valid_personcentric.h5", "authors", "valid.h5"),
    ("coco/annotations/person_keypoints_train2017.json", "coco", "again.json"),
    ("coco/mmpose/test_coco.json", "coco", "again.json"),
]


@pytest.mark.realdata
@pytest.mark.parametrize(("file", "target", "name"), REAL)
def test_real_files_survive_coco(real_data: Path, tmp_path: Path, file: str, target: str, name: str) -> None:
    source = read_source(real_data / file)
    write_people(source.people, tmp_path / "people.json", "coco", source, Losses())
    back = read_source(tmp_path / "people.json")
    assert_same(back.people, source.people)
    losses = Losses()
    write_people(back.people, tmp_path / name, target, back, losses)
    assert losses.notes == []
    assert_same(read_source(tmp_path / name).people, source.people)
    same_content(tmp_path / name, real_data / file)
    same_records(read_coco(tmp_path / "people.json"), source.people, tmp_path / "images")


def same_content(found: Path, wanted: Path) -> None:
    """What the two files hold, read by others than our readers."""
    if wanted.suffix == ".mat":
        a, b = (scipy.io.loadmat(str(file))["joints"] for file in (found, wanted))
        np.testing.assert_array_equal(a, b)
    elif wanted.suffix == ".h5":
        with h5py.File(found) as a, h5py.File(wanted) as b:
            assert sorted(a) == sorted(b)
            for key in b:
                np.testing.assert_array_equal(a[key][()], b[key][()])
    elif wanted.suffix == ".gz" or wanted.parent.name == "mpii":
        raw = wanted.read_bytes()
        content = json.loads(gzip.decompress(raw) if wanted.suffix == ".gz" else raw)
        assert json.loads(found.read_bytes()) == content
    else:
        a, b = json.loads(found.read_bytes()), json.loads(wanted.read_bytes())
        sizes = {image["id"]: (image["file_name"], image["width"], image["height"]) for image in b["images"]}
        assert sizes == {i["id"]: (i["file_name"], i["width"], i["height"]) for i in a["images"]}
        shared = ("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd")
        for one, other in zip(a["annotations"], b["annotations"], strict=True):
            assert {key: one[key] for key in shared} == {key: other[key] for key in shared}


def same_records(coco: Annotations, native: Annotations, images: Path) -> None:
    some = np.arange(0, len(native), max(len(native) // 300, 1))
    for name in dict.fromkeys(native.take(some).names):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    pairs = zip(records(coco.take(some), images), records(native.take(some), images), strict=True)
    for ours, theirs in pairs:
        seen = theirs.labelled
        assert (ours.person_id, ours.image_id, ours.side_px) == (
            theirs.person_id,
            theirs.image_id,
            theirs.side_px,
        )
        assert ours.skeleton == theirs.skeleton
        np.testing.assert_array_equal(ours.visibility, theirs.visibility)
        np.testing.assert_array_equal(ours.keypoints[seen], theirs.keypoints[seen])
        np.testing.assert_array_equal(ours.center, theirs.center)


@pytest.mark.slow
@pytest.mark.realdata
def test_mpii_list_becomes_the_authors_file(real_data: Path, tmp_path: Path) -> None:
    """The authors made theirs of the same people, with joints cut to whole numbers."""
    source = read_source(real_data / "mpii" / "mpii_annotations.json.gz", "val")
    write_people(source.people, tmp_path / "valid.h5", "authors", source, Losses())
    with h5py.File(tmp_path / "valid.h5") as ours, h5py.File(real_data / "mpii" / "valid.h5") as theirs:
        assert sorted(ours) == sorted(theirs)
        for key in ("imgname", "index", "person", "visible"):
            np.testing.assert_array_equal(ours[key][()], theirs[key][()])
        # The list's coordinates have three decimals, so 592.9996 became 593 before it was cut.
        cut, known = np.trunc(ours["part"][()]), theirs["part"][()]
        rounded_up = cut != known
        assert rounded_up.sum() == 5
        np.testing.assert_array_equal(ours["part"][()][rounded_up], known[rounded_up] + 1)
        # The list's scales have three decimals.
        np.testing.assert_allclose(ours["scale"][()], theirs["scale"][()], rtol=0, atol=0.000625)
        np.testing.assert_allclose(ours["center"][()], theirs["center"][()], rtol=0, atol=0.0075)
        np.testing.assert_allclose(ours["normalize"][()], theirs["normalize"][()], rtol=0, atol=0.0125)
        np.testing.assert_allclose(ours["torsoangle"][()], theirs["torsoangle"][()], rtol=0, atol=1e-9)


@pytest.mark.realdata
def test_flic_s_own_angle_and_torso(real_data: Path, tmp_path: Path) -> None:
    source = read_source(real_data / "flic" / "annot" / "valid_personcentric.h5")
    bare = replace(source.people, columns={}, lengths={})
    write_people(bare, tmp_path / "valid.h5", "authors", source, Losses())
    with h5py.File(tmp_path / "valid.h5") as ours, h5py.File(source.people.file) as theirs:
        assert sorted(ours) == sorted(theirs)
        for key in theirs:
            if key == "imgname":
                np.testing.assert_array_equal(ours[key][()], theirs[key][()])
            else:
                np.testing.assert_allclose(ours[key][()], theirs[key][()], rtol=0, atol=1e-9)
