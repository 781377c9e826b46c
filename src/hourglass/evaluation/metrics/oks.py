"""Object keypoint similarity, and average precision and recall over it, as COCO's evaluation has them.

OKS of a detection and a person is the mean over the person's labelled joints of exp(-d^2 / (2 area k^2)),
where d is the distance in pixels, `area` the person's and k twice the joint's sigma. It is to poses what the
overlap of boxes is to boxes. Everything else is COCO's (pycocotools `cocoeval`): the detections of a picture
take people greedily, best score first, at each of ten thresholds; crowds, people without labelled joints and
those outside the range of areas are neither found nor missed; a picture's best 20 detections count.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array, FloatArray, IntArray
from hourglass.core.oks import keypoint_similarity

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 20
AREAS = {"all": (0.0, 1e10), "M": (32.0**2, 96.0**2), "L": (96.0**2, 1e10)}
"""Ranges of a person's area in pixels, both ends belonging to them; COCO's `small` has no keypoints."""

SUMMARY = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""The ten numbers of COCO's table, in its order."""


@dataclass(frozen=True, eq=False)
class Crowded:
    """G annotated people, as COCO's evaluation needs them.

    Args:
        keypoints: (G, J, 2) pixels.
        visibility: (G, J), 0 for a joint without coordinates.
        area: (G,) square pixels, of the person's mask.
        box: (G, 4) x, y, width, height; used where nothing is labelled.
        crowd: (G,) True for a group that any number of detections may match.
        image: (G,) number of the person's picture, from 0.
        images: how many pictures there are, those without people included.
        sigmas: (J,) of OKS.
    """

    keypoints: FloatArray
    visibility: npt.NDArray[np.uint8]
    area: FloatArray
    box: FloatArray
    crowd: BoolArray
    image: IntArray
    images: int
    sigmas: FloatArray

    @property
    def ignored(self) -> BoolArray:
        """(G,) True for who is neither found nor missed at any size."""
        return np.asarray(self.crowd | (self.visibility == 0).all(1))


@dataclass(frozen=True, eq=False)
class Detections:
    """D detected people: keypoints (D, J, 2) pixels, scores (D,), numbers of their pictures (D,)."""

    keypoints: FloatArray
    scores: FloatArray
    image: IntArray


@dataclass(frozen=True, eq=False)
class Matches:
    """Who found whom: detections kept, best score first.

    Args:
        image: (K,) picture of each kept detection.
        found: (A, T, K) True where a person was found, for each range of areas and threshold.
        aside: (A, T, K) True where the detection doesn't count.
        wanted: (A, I) how many people of each picture are to be found.
        best: (G,) highest OKS that any kept detection reaches for each person, 0 where there is none.
    """

    image: IntArray
    found: BoolArray
    aside: BoolArray
    wanted: Float64Array
    best: Float64Array


def similarity(detected: FloatArray, people: Crowded, who: IntArray) -> Float64Array:
    """OKS (D, len(who)) of detections (D, J, 2) and some of the people, by row.

    For people without labelled joints the distance is that to twice their box, all joints counting.
    """
    labelled = people.visibility[who] > 0
    nothing = np.asarray(~labelled.any(1))
    offset = np.asarray(detected, np.float64)[:, None] - np.where(
        labelled[..., None], people.keypoints[who], 0.0
    )
    if nothing.any():
        box = np.asarray(people.box[who][nothing], np.float64)
        low, high = (box[:, :2] - box[:, 2:])[:, None], (box[:, :2] + 2 * box[:, 2:])[:, None]
        points = np.asarray(detected, np.float64)[:, None]
        offset[:, nothing] = np.maximum(0.0, low - points) + np.maximum(0.0, points - high)
    area = np.asarray(np.asarray(people.area, np.float64)[who] + np.spacing(1))
    with np.errstate(over="ignore"):
        square_px = np.asarray((offset**2).sum(-1))
    return keypoint_similarity(square_px, area, people.sigmas, labelled | nothing[:, None])


def match(people: Crowded, detections: Detections) -> Matches:
    """Match detections to people in every picture, for every range of areas and threshold."""
    ranges = np.array(list(AREAS.values()))
    area = np.asarray(people.area, np.float64)
    aside_people = (area < ranges[:, :1]) | (area > ranges[:, 1:]) | people.ignored
    corners = detections.keypoints.max(1) - detections.keypoints.min(1)
    size = np.asarray(corners.prod(-1), np.float64)
    # Stable, so that equal scores keep the order of pictures, and within a picture that of the file.
    order = np.lexsort((-detections.scores, detections.image))
    starts = np.searchsorted(detections.image[order], np.arange(people.images + 1))
    by_person = np.argsort(people.image, kind="stable")
    person_starts = np.searchsorted(people.image[by_person], np.arange(people.images + 1))
    best = np.zeros(len(area))
    kept, found, aside = [], [], []
    for image in range(people.images):
        rows = order[starts[image] : min(starts[image + 1], starts[image] + MAX_DETECTIONS)]
        if not len(rows):
            continue
        who = by_person[person_starts[image] : person_starts[image + 1]]
        oks = similarity(detections.keypoints[rows], people, who)
        if len(who):
            best[who] = oks.max(0)
        picked, unwanted = _take(oks, people.crowd[who], aside_people[:, who])
        small = (size[rows] < ranges[:, :1]) | (size[rows] > ranges[:, 1:])
        kept.append(rows)
        found.append(picked)
        aside.append(unwanted | (~picked & small[:, None]))
    shape = (len(AREAS), len(THRESHOLDS), 0)
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    by_score = np.argsort(-detections.scores[chosen], kind="stable")
    wanted = np.zeros((len(AREAS), people.images))
    for row, aside_row in zip(wanted, aside_people, strict=True):
        np.add.at(row, people.image[~aside_row], 1.0)
    return Matches(
        image=np.asarray(detections.image[chosen][by_score], np.int64),
        found=np.concatenate(found or [np.zeros(shape, bool)], -1)[..., by_score],
        aside=np.concatenate(aside or [np.zeros(shape, bool)], -1)[..., by_score],
        wanted=wanted,
        best=best,
    )


def _take(oks: Float64Array, crowd: BoolArray, aside_people: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Found and unwanted (A, T, D) in one picture; OKS (D, G), people left aside (A, G).

    A detection takes the free person with the highest OKS, of equals the last one; one that is left aside
    only where no other is near enough. Crowds are never used up.
    """
    detections, people = oks.shape
    shape = (len(aside_people), len(THRESHOLDS), detections)
    found, unwanted = np.zeros(shape, bool), np.zeros(shape, bool)
    if not people:
        return found, unwanted
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    taken = np.zeros((*shape[:2], people), bool)
    for d in range(detections):
        free = (~taken | crowd) & (oks[d] >= enough)
        proper = free & ~aside_people[:, None]
        usable = np.where(proper.any(-1, keepdims=True), proper, free)
        # The last of the highest, as COCO's loop has it.
        value = np.where(usable, oks[d], -1.0)[..., ::-1]
        pick = people - 1 - value.argmax(-1)
        hit = usable.any(-1)
        found[..., d] = hit
        unwanted[..., d] = hit & np.take_along_axis(aside_people, pick, -1)
        area, threshold = np.nonzero(hit)
        taken[area, threshold, pick[area, threshold]] = True
    return found, unwanted


def summarise(matches: Matches, weights: FloatArray) -> Float64Array:
    """COCO's ten numbers (B, 10) in 0..1, for B weightings of the pictures; see `SUMMARY`.

    Weights of 1 give COCO's own; a bootstrap gives how often each picture was drawn, which equals evaluating
    a set with the picture that many times. NaN where nobody is to be found (COCO prints -1).

    Args:
        weights: (B, I) not negative.
    """
    weights = np.asarray(weights, np.float64)
    areas, thresholds, kept = matches.found.shape
    each = weights[:, matches.image]
    wanted = weights @ matches.wanted.T
    precision = np.full((len(weights), areas, thresholds), np.nan)
    recall = np.full((len(weights), areas, thresholds), np.nan)
    for a in range(areas):
        has = np.flatnonzero(wanted[:, a] > 0)
        for t in range(thresholds):
            counts = ~matches.aside[a, t]
            hit = np.cumsum(each[has] * (matches.found[a, t] & counts), 1)
            wrong = np.cumsum(each[has] * (~matches.found[a, t] & counts), 1)
            rate = hit / wanted[has, a, None]
            share = hit / (hit + wrong + np.spacing(1))
            # The best precision at this recall or any higher one.
            share = np.maximum.accumulate(share[:, ::-1], 1)[:, ::-1]
            for row, draw in enumerate(has):
                at = np.searchsorted(rate[row], RECALLS, side="left")
                precision[draw, a, t] = share[row][at[at < kept]].sum() / len(RECALLS)
                recall[draw, a, t] = rate[row, -1] if kept else 0.0
    fifty, seventy_five = 0, 5
    columns = [
        table[:, a, t] if isinstance(t, int) else table[:, a].mean(-1)
        for table in (precision, recall)
        for a, t in ((0, None), (0, fifty), (0, seventy_five), (1, None), (2, None))
    ]
    return np.stack(columns, 1)
