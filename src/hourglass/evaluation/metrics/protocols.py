"""What other codes print, as data: which joints, length, inequality and mean (docs/metrics.md).

A protocol is a list of tables, and a table a list of lines; a line is a mean over some joints or sticks. All
of them are averages of hits over people, so one function evaluates every protocol and one bootstrap serves
all. OKS-AP is no such average and has a branch of its own.
"""

from dataclasses import dataclass, replace
from typing import Literal

from hourglass.core.skeleton import Skeleton
from hourglass.evaluation.metrics.pck import MERGED

Length = Literal["head", "head-stick", "torso", "other-torso", "any-torso", "file-torso", "box", "crop"]
Mean = Literal["pooled", "joints", "batches"]

BATCH = 16
"""People in one batch of the mean over `batches`: the code behind the slides scores batch by batch."""

LENGTHS: dict[str, str] = {
    "head": "0.6 x head box diagonal",
    "head-stick": "neck to head top",
    "torso": "left shoulder to right hip",
    "other-torso": "right shoulder to left hip",
    "any-torso": "first labelled torso diagonal",
    "file-torso": "torso length in the file",
    "box": "longer side of the box around the joints",
    "crop": "side of the person's square crop",
}
"""What a distance may be divided by."""

ROW = ("Head", "Sho", "Elb", "Wri", "Hip", "Knee", "Ank")


def _pair(part: str) -> tuple[str, str]:
    return f"left_{part}", f"right_{part}"


_PAIRS = tuple(
    (column, _pair(part))
    for column, part in zip(ROW[1:], ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), strict=True)
)
_LIMBS = tuple(joint for _, pair in _PAIRS for joint in pair)
FOURTEEN = (*_LIMBS, "neck", "head_top")
SIXTEEN = (*FOURTEEN, "pelvis", "thorax")
_BENT = _PAIRS[1:]
_TEN = tuple(joint for _, pair in _BENT for joint in pair)
_ARMS = (*_pair("elbow"), *_pair("wrist"))
_HEAD_TOP = (("Head", ("head_top",)), *_PAIRS)
_HEAD_PAIR = (("Head", ("neck", "head_top")), *_PAIRS)


@dataclass(frozen=True)
class Line:
    """One number of a table: its name, the joints or sticks it is over, and how they are averaged."""

    name: str
    parts: tuple[str, ...]
    mean: Mean


@dataclass(frozen=True)
class ScoreTable:
    """Numbers made from one measure.

    Args:
        name: such as `PCKh@0.5`; where the code's own name misleads, the real threshold stands behind it.
        kind: `hits` at one threshold, the `area` under the curve up to it, or sticks, `strict` or `loose`.
        threshold: in lengths.
        lines: the columns, the one over everything last.
    """

    name: str
    kind: Literal["hits", "area", "strict", "loose"]
    threshold: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Protocol:
    """How one code scores.

    Args:
        name: what `--protocol` calls it.
        code: whose it is and where.
        inequality: at the threshold, of distances; for OKS of similarities.
        length: what distances are divided by, a key of `LENGTHS`; empty for OKS.
        joints: those in the mean, by name; empty for all of the skeleton's, or for its first `rows`.
        mean: over them: `pooled` (each labelled joint weighs the same), `joints` (each kind of joint does) or
            `batches` (the mean of `joints` over every `BATCH` people in the file's order; a batch weighs as
            many as kinds of joints occur in it).
        tables: what it prints; empty for OKS.
        labelled: `annotated`, or `beyond 1`: both coordinates above 1, as the file counts.
        truth: the file the code itself reads.
        remark: where it surprises.
        rows: without `joints`, how many of the skeleton's rows count; 0 for all.
    """

    name: str
    code: str
    inequality: Literal["<=", "<", ">="]
    length: Length | Literal[""]
    joints: tuple[str, ...]
    mean: Mean
    tables: tuple[ScoreTable, ...]
    labelled: Literal["annotated", "beyond 1"] = "annotated"
    truth: str = ""
    remark: str = ""
    rows: int = 0

    def joints_of(self, skeleton: Skeleton) -> tuple[str, ...]:
        """The joints that count, of those that a skeleton has."""
        return self.joints or skeleton.joints[: self.rows or None]

    @property
    def main(self) -> ScoreTable | None:
        """The table whose last line people quote."""
        return self.tables[0] if self.tables else None


def _table(
    name: str,
    threshold: float,
    columns: tuple[tuple[str, tuple[str, ...]], ...],
    total: Line,
    kind: Literal["hits", "area", "strict", "loose"] = "hits",
    mean: Mean = "joints",
) -> ScoreTable:
    """Columns, each the mean of its joints unless `mean` says pooled, and the total."""
    return ScoreTable(name, kind, threshold, (*(Line(n, parts, mean) for n, parts in columns), total))


def _total(joints: tuple[str, ...], mean: Mean) -> Line:
    return Line("Mean", joints, mean)


_POOLED, _EVEN = _total(FOURTEEN, "pooled"), _total(FOURTEEN, "joints")
_UPPER = Line("UBody", tuple(j for _, pair in _PAIRS[:3] for j in pair), "pooled")
_ALL_STICKS = tuple(stick for _, sticks in MERGED for stick in sticks)
_MAT = "detections_our_format.mat"

MPII_OFFICIAL = Protocol(
    name="mpii-official",
    code="MPII toolkit, Matlab: evaluatePCKh, computePCK, genTablePCK",
    inequality="<=",
    length="head",
    joints=FOURTEEN,
    mean="pooled",
    tables=tuple(
        replace(table, lines=(*table.lines[:-1], _UPPER, _POOLED))
        for table in (
            _table("PCKh@0.5", 0.5, _HEAD_PAIR, _POOLED),
            _table("PCKh@0.1", 0.1, _HEAD_PAIR, _POOLED),
            _table("AUC", 0.5, _HEAD_PAIR, _POOLED, "area"),
        )
    ),
    truth="the official annotations (single people of the test set)",
    remark="Head is the mean of neck and head top",
)
BEARPAW = Protocol(
    name="bearpaw",
    code="bearpaw/pytorch-pose evaluation/eval_PCKh.py; anibali/pytorch-stacked-hourglass",
    inequality="<",
    length="head",
    joints=FOURTEEN,
    mean="joints",
    tables=(_table("PCKh@0.5", 0.5, _HEAD_TOP, _EVEN), _table("PCKh@0.1", 0.1, _HEAD_TOP, _EVEN)),
    truth=_MAT,
    remark="the mean is over kinds of joints, so rare joints weigh more",
)
HRNET = Protocol(
    name="hrnet",
    code="leoxiaobin/deep-high-resolution-net.pytorch lib/dataset/mpii.py evaluate",
    inequality="<=",
    length="head",
    joints=FOURTEEN,
    mean="pooled",
    tables=(
        _table("PCKh@0.5", 0.5, _HEAD_TOP, _POOLED),
        _table('PCKh"@0.1" (0.11)', 0.11, _HEAD_TOP, _POOLED),
    ),
    truth=_MAT + " (there gt_valid.mat)",
    remark='its "Mean@0.1" takes entry 11 of 0, 0.01 .. 0.5, which is 0.11',
)
MMPOSE = Protocol(
    name="mmpose",
    code="open-mmlab/mmpose MpiiPCKAccuracy",
    inequality="<",
    length="head",
    joints=FOURTEEN,
    mean="pooled",
    tables=(_table("PCKh@0.5", 0.5, _HEAD_TOP, _POOLED), _table("PCKh@0.1", 0.1, _HEAD_TOP, _POOLED)),
    truth="mpii_val.json and " + _MAT + "'s head boxes",
    remark="its @0.1 was 0.11 before pull request 516",
)
PRINCETON_TORCH7 = Protocol(
    name="princeton-torch7",
    code="princeton-vl/pose-hg-train heatmapAccuracy with accIdxs",
    inequality="<=",
    length="head",
    joints=_TEN,
    mean="joints",
    tables=tuple(_table(f"PCKh@{t}", t, _BENT, _total(_TEN, "joints")) for t in (0.5, 0.1)),
    truth="annot.h5",
    remark="no head, neck or shoulders; the code measures whole heatmap cells, which reads about 1.5 higher",
)
PRINCETON_DEMO = Protocol(
    name="princeton-demo",
    code="princeton-vl/pose-hg-demo main.lua eval",
    inequality="<=",
    length="head",
    joints=FOURTEEN,
    mean="joints",
    tables=(_table("PCKh@0.5", 0.5, _HEAD_PAIR, _EVEN), _table("PCKh@0.1", 0.1, _HEAD_PAIR, _EVEN)),
    labelled="beyond 1",
    truth="valid.h5",
    remark="Head is neck and head top; it plots columns and prints no mean",
)
PRINCETON_PYTORCH = Protocol(
    name="princeton-pytorch",
    code="princeton-vl/pytorch_stacked_hourglass test.py mpii_eval",
    inequality="<",
    length="head",
    joints=SIXTEEN,
    mean="pooled",
    tables=tuple(
        _table(
            f"PCKh@{t}",
            t,
            (*_HEAD_TOP, ("Neck", ("neck",)), ("Pelv", ("pelvis",)), ("Thor", ("thorax",))),
            _total(SIXTEEN, "pooled"),
            mean="pooled",
        )
        for t in (0.5, 0.1)
    ),
    truth="valid.h5",
    remark="pelvis and thorax count, which adds about 0.9",
)
LSP_TOOLKIT = Protocol(
    name="lsp-toolkit",
    code="LSP toolkit, Matlab: evaluatePCK, getDistPCK, evaluatePCP, genTablePCP",
    inequality="<=",
    length="torso",
    joints=FOURTEEN,
    mean="pooled",
    tables=(
        _table("PCK@0.2", 0.2, _HEAD_PAIR, _POOLED),
        _table("PCK@0.1", 0.1, _HEAD_PAIR, _POOLED),
        _table("AUC 0.2", 0.2, _HEAD_PAIR, _POOLED, "area"),
        _table("PDJ@0.5", 0.5, _HEAD_PAIR, _POOLED),
        _table("PCP strict", 0.5, MERGED, _total(_ALL_STICKS, "pooled"), "strict"),
        _table("PCP loose", 0.5, MERGED, _total(_ALL_STICKS, "pooled"), "loose"),
    ),
    truth="joints.mat, people 1001 to 2000; person- or observer-centric is a matter of the file",
    remark="the PCP total is over ten sticks, not over the six columns",
)
FLIC = Protocol(
    name="flic",
    code="FLIC's PCK@0.2 as the hourglass authors report it (Sapp and Taskar 2013)",
    inequality="<=",
    length="file-torso",
    joints=_ARMS,
    mean="pooled",
    tables=tuple(_table(f"PCK@{t}", t, _PAIRS[:3], _total(_ARMS, "pooled")) for t in (0.2, 0.1)),
    truth="valid.h5, observer-centric",
    remark="the torso is the person-centric right shoulder to left hip, also for the observer-centric file; "
    "shoulders have a column, and no part in the mean",
)
COCO = Protocol(
    name="coco",
    code="COCO's keypoint evaluation (pycocotools cocoeval)",
    inequality=">=",
    length="",
    joints=(),
    mean="pooled",
    tables=(),
    truth="person_keypoints_*.json",
    remark="detections compete: scores and everybody in the pictures matter",
)
JHU_SLIDES = Protocol(
    name="jhu-slides",
    code="Naman-ntc/Pytorch-Human-Pose-Estimation metrics.py PCK, the PCK of the 2019 slides",
    inequality="<",
    length="crop",
    joints=(),
    mean="batches",
    tables=(ScoreTable("PCK@0.05 of the crop", "hits", 0.05, (Line("Mean", (), "batches"),)),),
    truth="person_keypoints_*.json",
    remark="within a twentieth of the heatmap, 12.8 px of 256, whatever the person's size; rows 0 to 15 "
    "only, so COCO's right ankle is left out; that code scores shuffled batches and whole cells, and no "
    "joint in the first two rows or columns of cells",
    rows=16,
)
HOURGLASS = Protocol(
    name="hourglass",
    code="`hourglass evaluate`",
    inequality="<=",
    length="any-torso",
    joints=(),
    mean="joints",
    tables=(
        _table("PCK@0.2", 0.2, (), _total((), "joints")),
        _table("PCK@0.1", 0.1, (), _total((), "joints")),
    ),
    truth="any",
    remark="a person whose first torso diagonal isn't labelled is measured by the other one",
)

PROTOCOLS = (
    MPII_OFFICIAL,
    BEARPAW,
    HRNET,
    MMPOSE,
    PRINCETON_TORCH7,
    PRINCETON_DEMO,
    PRINCETON_PYTORCH,
    LSP_TOOLKIT,
    FLIC,
    COCO,
    JHU_SLIDES,
    HOURGLASS,
)


def protocol(name: str) -> Protocol:
    """The protocol of that name; raises ValueError with the known ones."""
    for known in PROTOCOLS:
        if known.name == name:
            return known
    names = ", ".join(p.name for p in PROTOCOLS)
    raise ValueError(f"there is no protocol {name!r}; choose one of {names}, or all")
