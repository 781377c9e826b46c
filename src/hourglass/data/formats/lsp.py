"""Leeds Sports Pose (LSP), its extension (LSPET), and both together.

Each is `joints.mat` beside `images/` with numbered photos, counts pixels from 1 and labels 14 joints. The
rest differs, see `LeedsFile`: LSP's array is (3, 14, 2000), and a 1 in its third row marks a joint that is
hidden; LSPET's is (14, 3, 10000), and a 1 marks one that is labelled.

LSP (`im0001.jpg` to `im2000.jpg`): all 28,000 joints are labelled and finite, and 2,044 of them (7.3 %)
marked as hidden. Left and right are the person's own (in 33 % of people the right shoulder lies to the
right of the left one); an observer-centric file of the same form is read the same way, and `data.sides`
makes the one of the other. The data set exists in two sizes, people about 150 px long and the original
photos: take `joints.mat` and `images/` from the same archive.

LSPET (`im00001.jpg` onwards), measured over people 1-9000 (126,000 joints): 110,819 are labelled, and all
of these are finite. 19 lie outside their picture; 18 of them by less than 1.7 px, and those count as any
other. The right knee of im08075.jpg lies 145 px outside a picture 241 px wide: a slip of the annotator,
read as not labelled (see `person_scale.without_far_outside`). Nobody has fewer than 4 labelled joints.
Where the flag is 0 the coordinates mean nothing.

Scores on LSP are trained on both: `load_both` reads the folders `lsp/` and `lspet/` of one root. `train` is
LSP's first thousand followed by everybody whom LSPET's `joints.mat` holds (10,000 in the full archive),
`test` LSP's second thousand. There is no val split: set one aside by `data.val_split=test`, or train on one
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord
from hourglass.data.formats.annotations import Annotations, find_photos, log_left_out, records
from hourglass.data.formats.person_scale import crops_of_joints, with_crop, without_far_outside
from hourglass.data.formats.read_files import check_file, check_finite, read_mat
from hourglass.data.formats.skeleton_map import with_sides
from hourglass.data.loading.images import ImageError, image_size

ORIGIN = 1
"""What MATLAB calls the first pixel."""

_JOINTS = len(LSP14)


@dataclass(frozen=True)
class LeedsFile:
    """One of the two data sets.

    Args:
        name: such as `LSP`.
        other: the name of the other one, whose file is easily given instead.
        form: one of `annotations.FORMS`.
        splits: first and last photo number of each split; `all`, where it is there, spans the others.
        known: the splits in words.
        joints_first: the file's array is (14, 3, N), not (3, 14, N).
        digits: of the number in a photo's name.
        flag_hides: the flag 1 marks a hidden joint and everything is labelled; else it marks a labelled one.
        not_finite: what to say of a labelled joint that is no finite number.
    """

    name: str
    other: str
    form: str
    splits: Mapping[str, tuple[int, int]]
    known: str
    joints_first: bool
    digits: int
    flag_hides: bool
    not_finite: str

    def photo_name(self, number: int) -> str:
        """File name of a photo, whose number counts from 1."""
        return f"im{number:0{self.digits}d}.jpg"

    def split_of(self, number: int) -> str:
        """The split that holds a photo."""
        return next(
            name for name, (first, last) in self.splits.items() if name != "all" and first <= number <= last
        )


LSP = LeedsFile(
    name="LSP",
    other="LSPET",
    form="lsp",
    splits={"train": (1, 1000), "test": (1001, 2000)},
    known="train and test, its first and second thousand people",
    joints_first=False,
    digits=4,
    flag_hides=True,
    not_finite="is not a finite number; LSP labels every joint",
)

LSPET = LeedsFile(
    name="LSPET",
    other="LSP",
    form="lspet",
    splits={"train": (1, 8000), "val": (8001, 9000), "test": (9001, 10000), "all": (1, 10000)},
    known="train, val, test, all",
    joints_first=True,
    digits=5,
    flag_hides=False,
    not_finite="is labelled but not a finite number; mend it or set its flag to 0",
)

BOTH_SPLITS = ("train", "test")

LSPET_FROM = 100_000
"""Added to LSPET's `person_id` where it stands beside LSP's; each is its photo's number."""


def read_lsp(file: Path, split: str = "") -> Annotations:
    """The people of LSP's `joints.mat` in the order of their photos, whose numbers are their ids.

    The crop is that of `person_scale.crops_of_joints`, NaN for who has fewer than two labelled joints.

    Args:
        split: only its people, and only their faults count; "" for everybody.

    Raises ValueError or FileNotFoundError, naming the file and what to do.
    """
    return _read(LSP, file, split)


def read_lspet(file: Path, split: str = "") -> Annotations:
    """As `read_lsp`, of LSPET. Only `load_lspet`, which has the pictures, leaves out joints outside them."""
    return _read(LSPET, file, split)


def load_lsp(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """The people of one split in the order of their photos; visibility is 2, or 1 for a hidden joint.

    Args:
        crop: `box`, or `limbs` for a side after `person_scale.limb_side_px`.
        sides: "" as the file has them, or `observer` (see `left_right.observer_centric`).

    Raises ValueError or FileNotFoundError, naming the file and what to do, when the folder is not LSP,
    `joints.mat` can't be used, or photos of this split are missing.
    """
    people, _ = _people_of_folder(LSP, root, split)
    return _records_of(people, root, crop, sides)


def load_lspet(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """As `load_lsp`, of LSPET; visibility is 2 or 0, it knows no more."""
    people, photos = _people_of_folder(LSPET, root, split)
    before = int(people.labelled.sum())
    people = _with_visibility(people, _inside(people, photos))
    few = people.labelled.sum(axis=1) < 2
    log_left_out(
        people.file,
        {
            "joints far outside their picture": before - int(people.labelled.sum()),
            "people with fewer than 2 labelled joints": int(few.sum()),
        },
    )
    if few.all():
        raise ValueError(f"{people.file}: nobody in the {split} split has two labelled joints")
    return _records_of(people.take(~few), root, crop, sides)


def load_both(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """As `load_lsp`, of LSP with LSPET; `image_id` is the photo below the root, without `images/`.

    A photo that is missing is an error if its person is in `joints.mat`; both files may end early.
    """
    if split not in BOTH_SPLITS:
        raise ValueError(f"LSP with LSPET has no split {split!r}; it has {' and '.join(BOTH_SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the one that holds lsp/ and lspet/")
    people = [_below(r, "lsp") for r in load_lsp(root / "lsp", split, crop, sides)]
    if split == "train":
        more = load_lspet(root / "lspet", "all", crop, sides)
        people += [_below(replace(r, person_id=LSPET_FROM + r.person_id), "lspet") for r in more]
    return people


def _below(record: PersonRecord, folder: str) -> PersonRecord:
    return replace(record, image_id=f"{folder}/{record.image_id}")


def _read(archive: LeedsFile, file: Path, split: str = "") -> Annotations:
    """As `read_lsp`, of either data set."""
    check_file(file, f"{archive.name}'s joints")
    joints = _array(archive, file)
    numbers = _numbers(archive, file, split, len(joints))
    points, flags = joints[numbers - 1, :, :2], joints[numbers - 1, :, 2]
    names = [archive.photo_name(number) for number in numbers.tolist()]
    for n, j in np.argwhere((flags != 0) & (flags != 1))[:1].tolist():
        raise ValueError(
            f"{file}: the flag of {LSP14.joints[j]} in {names[n]} is {flags[n, j]:g}; expected 0 or 1"
        )
    if archive.flag_hides:
        visibility = np.where(flags == 1, OCCLUDED, VISIBLE).astype(np.uint8)
    else:
        visibility = np.where(flags == 1, VISIBLE, NOT_LABELLED).astype(np.uint8)
    labelled = visibility > NOT_LABELLED
    for n, j in np.argwhere(labelled & ~np.isfinite(points).all(axis=2))[:1].tolist():
        raise ValueError(f"{file}: {LSP14.joints[j]} in {names[n]} {archive.not_finite}")
    where = [f"{file}: {name}" for name in names]
    check_finite(points, labelled, LSP14.joints, where.__getitem__)
    center, side_px = _crops(points, visibility)
    return Annotations(
        file=file,
        form=archive.form,
        what=f"{archive.name}'s {split} split" if split else archive.name,
        skeleton=LSP14,
        where=where,
        names=names,
        ids=numbers,
        splits=[archive.split_of(number) for number in numbers.tolist()],
        keypoints=points,
        visibility=visibility,
        tells_hidden=archive.flag_hides,
        origin=ORIGIN,
        center=center,
        side_px=side_px,
    )


def _people_of_folder(archive: LeedsFile, root: Path, split: str) -> tuple[Annotations, dict[str, Path]]:
    """The people of one split, and where their photos, all of them, lie.

    Raises ValueError or FileNotFoundError, naming the file and what to do.
    """
    _check_split(archive, split)
    file, folder = root / "joints.mat", root / "images"
    for place, what, there in (
        (root, "folder", root.is_dir()),
        (file, "file", file.is_file()),
        (folder, "folder", folder.is_dir()),
    ):
        if not there:
            raise FileNotFoundError(
                f"there is no {what} {place}; give the folder of the unpacked {archive.name} archive, "
                "which holds joints.mat and images/"
            )
    people = _read(archive, file, split)
    return people, find_photos(folder, people.names, people.what)


def _with_visibility(people: Annotations, visibility: npt.NDArray[np.uint8]) -> Annotations:
    """The people with another visibility (N, 14), and the crops that follow from it."""
    center, side_px = _crops(people.keypoints, visibility)
    return replace(people, visibility=visibility, center=center, side_px=side_px)


def _records_of(people: Annotations, root: Path, crop: str, sides: str) -> list[PersonRecord]:
    """Records under the options `data.crop` and `data.sides`."""
    people = with_crop(with_sides(people, sides), crop)
    # Where nothing is labelled a file may hold numbers that single precision can't.
    with np.errstate(over="ignore"):
        return records(people, root / "images")


def _array(archive: LeedsFile, file: Path) -> npt.NDArray[np.float64]:
    """(N, 14, 3): x and y as MATLAB counts them, flag."""
    again = f"take joints.mat from the {archive.name} archive again"
    content = read_mat(file)
    if "joints" not in content:
        raise ValueError(f"{file} holds no variable 'joints'; {again}")
    joints = content["joints"]
    shape = (_JOINTS, 3) if archive.joints_first else (3, _JOINTS)
    usable = joints.ndim == 3 and joints.shape[:2] == shape and joints.size and joints.dtype.kind in "iuf"
    if not usable:
        turned = joints.ndim == 3 and joints.shape[:2] == shape[::-1]
        looks = f", which looks like {archive.other}'s file, not {archive.name}'s" if turned else ""
        raise ValueError(
            f"{file}: 'joints' is {joints.dtype} of shape {joints.shape}{looks}; "
            f"expected numbers of shape ({shape[0]}, {shape[1]}, N); {again}"
        )
    return joints.astype(np.float64).transpose((2, 0, 1) if archive.joints_first else (2, 1, 0))


def _check_split(archive: LeedsFile, split: str) -> None:
    if split not in archive.splits:
        raise ValueError(f"{archive.name} has no split {split!r}; it has {archive.known}")


def _numbers(archive: LeedsFile, file: Path, split: str, count: int) -> npt.NDArray[np.int64]:
    """The photo numbers of a split that the file reaches."""
    whole = max(last for _, last in archive.splits.values())
    first, last = 1, whole
    if split:
        _check_split(archive, split)
        first, last = archive.splits[split]
    if count < first:
        raise ValueError(
            f"{file} holds people 1 to {count}, none of the {split} split ({first} to {last}); "
            "get the full file or take another split"
        )
    log_left_out(file, {f"people beyond number {whole}, the last of {archive.name}": max(count - whole, 0)})
    return np.arange(first, min(last, count) + 1)


def _crops(
    points: npt.NDArray[np.float64], visibility: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres, counted as the points are, and sides."""
    labelled = visibility > NOT_LABELLED
    # Rounded as in the records, whose joints span the box.
    single = np.where(labelled[..., None], points - ORIGIN, 0).astype(np.float32)
    center, side_px = crops_of_joints(single, labelled)
    return center + ORIGIN, side_px


def _inside(people: Annotations, photos: Mapping[str, Path]) -> npt.NDArray[np.uint8]:
    """The visibility (N, 14) without joints far outside their picture."""
    visibility = people.visibility.copy()
    for n, name in enumerate(people.names):
        try:
            # The header alone: 9,000 of them take 0.3 s.
            width, height = image_size(photos[name])
        except ImageError:
            # Whoever reads the photo says so; its annotation is none the worse.
            continue
        visibility[n] = without_far_outside(people.keypoints[n] - people.origin, visibility[n], width, height)
    return visibility
