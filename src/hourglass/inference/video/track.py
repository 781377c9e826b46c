"""A box that follows each person from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from hourglass.core.arrays import RGB
from hourglass.core.geometry import box_around
from hourglass.inference.detection.boxes import Boxes, overlaps
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import SEEN, Predictor, Request, Square
from hourglass.inference.video.joints_log import Person, Record, as_written

LOST = 0.5
"""A person is lost when a smaller share of the joints scores above `predictor.SEEN`."""
_SHRINK, _GROW = 0.85, 1.2
"""A square's side changes by no more from frame to frame: a limb that comes and goes is no zoom."""
_SAME = 0.1
"""Two people whose joints lie this close on average, in sides of their square, are one."""
DETECT_EVERY = 25
"""A detector looks for new people every so many frames."""
_FOUND = 0.5
"""Somebody who is followed has been found by a detector where the boxes around the joints overlap so much."""


@dataclass(frozen=True, eq=False)
class _Track:
    square: Square
    lost: bool


class Follower:
    """People from frame to frame: each is looked for around where the last frame's joints were.

    Without boxes there is one person, found in the whole first frame in passes, as the predictor does. When
    the person is lost (most joints score low, or the middle of them leaves the picture) the whole frame is
    searched again, and the better answer counts.

    With boxes for the first frame there is one person for each. One who is lost is looked for in the same
    place, in a square that grows up to the next person. Of two who come to lie on the same joints, the less
    sure one is lost.

    Without boxes, but with a predictor that has a detector, there is everybody whom that finds in the first
    frame. It looks again every `detect_every` frames, and in each frame in which everybody is lost or nobody
    is there. Whom it finds beside those who are followed is new, or, within the square of one who is lost,
    that one. Others who are lost then are followed no longer; who comes back later has a new number.

    What follows is a function of the `Record`s so far, so a run can be continued from a file.

    Raises ValueError as `Predictor.prepare` does for boxes that can't be, when the first frame is given.
    """

    def __init__(
        self, predictor: Predictor, boxes: Boxes | None = None, detect_every: int = DETECT_EVERY
    ) -> None:
        self.predictor = predictor
        self._boxes = boxes
        self._detects = boxes is None and predictor.detector is not None
        self._detect_every = detect_every
        self._last: tuple[Person, ...] | None = None
        self._frames = 0
        self._numbers = 0

    def __call__(self, image: RGB) -> tuple[Person, ...]:
        """The people in the next frame (H, W, 3) uint8 RGB, numbered, with numbers as a file holds them."""
        if self._last is None:
            poses = self.predictor.answer([self.predictor.prepare(image, self._boxes)])[0]
            people = [Person(i, as_written(pose)) for i, pose in enumerate(poses)]
        else:
            tracks = self._next_tracks(self._last, image.shape[1], image.shape[0])
            people = self._follow_many(image, tracks) if self._detects else self._follow(image, tracks)
        return self._keep(tuple(people))

    def restore(self, record: Record) -> None:
        """Go on from a frame that is known already; a broken one changes nothing."""
        if record.people or (self._detects and not record.error):
            self._keep(record.people)

    def _keep(self, people: tuple[Person, ...]) -> tuple[Person, ...]:
        self._last = people
        self._frames += 1
        self._numbers = max([self._numbers, *(person.number + 1 for person in people)])
        return people

    def _follow(self, image: RGB, tracks: Sequence[_Track]) -> list[Person]:
        alone = self._boxes is None
        if alone and tracks[0].lost:
            return [self._search(image, None)]
        squares = tuple(track.square for track in tracks)
        poses = [as_written(pose) for pose in self.predictor.answer([Request(image, squares, False)])[0]]
        if alone and is_lost(poses[0], image.shape[1], image.shape[0]):
            return [self._search(image, poses[0])]
        return [Person(i, pose) for i, pose in enumerate(poses)]

    def _follow_many(self, image: RGB, tracks: Sequence[_Track]) -> list[Person]:
        """Everybody who was there, and, when it is time to look again, who is there now."""
        squares = tuple(track.square for track in tracks)
        poses = self.predictor.answer([Request(image, squares, False)])[0]
        followed = zip(self._last or (), poses, strict=True)
        people = [Person(person.number, as_written(pose)) for person, pose in followed]
        gone = [is_lost(person.found, image.shape[1], image.shape[0]) for person in people]
        if self._frames % self._detect_every and not all(gone):
            return people
        seen = self.predictor.answer([self.predictor.prepare(image)])[0]
        # That somebody may be there whom the finder can't see is known already, of those who are followed.
        rest = [as_written(pose) for pose in seen if all(gone) or not pose.guess]
        here = [person for person, lost in zip(people, gone, strict=True) if not lost]
        rest = _without(rest, here)
        for person in (person for person, lost in zip(people, gone, strict=True) if lost):
            apart = [np.abs(_square_of(pose).center - _square_of(person.found).center).max() for pose in rest]
            if apart and min(apart) < float(person.found.box[2]) / 2:
                here.append(Person(person.number, rest.pop(int(np.argmin(apart))), moved=True))
        new = [Person(number, pose) for number, pose in enumerate(rest, self._numbers)]
        return sorted(here + new, key=lambda person: person.number)

    def _search(self, image: RGB, followed: Pose | None) -> Person:
        """One person in the whole frame, unless the one who was followed is clearer."""
        found = as_written(self.predictor.answer([self.predictor.prepare(image)])[0][0])
        if followed is not None and followed.score >= found.score:
            return Person(0, followed)
        return Person(0, found, moved=True)

    def _next_tracks(self, people: Sequence[Person], width: int, height: int) -> list[_Track]:
        lost = [is_lost(person.found, width, height) for person in people]
        for a in range(len(people)):
            for b in range(a):
                if not (lost[a] or lost[b]) and _same(people[a].found, people[b].found):
                    lost[a if people[a].found.score <= people[b].found.score else b] = True
        tracks = []
        for i, person in enumerate(people):
            others = [p.found for p, gone in zip(people, lost, strict=True) if p is not person and not gone]
            limit_px = min([float(max(width, height)), *(_reach(person.found, other) for other in others)])
            tracks.append(self._next(person, lost[i], limit_px))
        return tracks

    def _next(self, person: Person, lost: bool, limit_px: float) -> _Track:
        pose = person.found
        corner, side = pose.box[:2].astype(np.float64), float(pose.box[2])
        seen = _square_of(pose)
        if lost:
            return _Track(Square(corner + side / 2 - 0.5, min(side * _GROW, max(limit_px, side))), True)
        center, around = box_around(pose.keypoints[pose.scores >= SEEN])
        wanted = max(around * self.predictor.facts.box_margin, 8.0)
        next_side = min(max(wanted, side * _SHRINK), side * _GROW)
        followed = Square(np.asarray(center, np.float64), next_side)
        # A square that hardly changes stays, so that the crop adds no tremble of its own.
        return _Track(seen if seen.settled(followed) else followed, False)


def _square_of(pose: Pose) -> Square:
    side = float(pose.box[2])
    return Square(pose.box[:2].astype(np.float64) + side / 2 - 0.5, side)


def is_lost(pose: Pose, width: int, height: int) -> bool:
    """Whether too few joints score, or the middle of those that do lies outside the picture."""
    seen = pose.keypoints[pose.scores >= SEEN]
    if len(seen) < max(LOST * len(pose.scores), 1):
        return True
    x, y = (seen.min(axis=0) + seen.max(axis=0)) / 2
    return not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5)


def _without(poses: Sequence[Pose], people: Sequence[Person]) -> list[Pose]:
    """The poses that are of none of these people, each of whom is one pose at most."""
    if not poses:
        return []
    corners = np.stack([_corners(pose) for pose in (*poses, *(person.found for person in people))])
    shared = overlaps(corners)[: len(poses), len(poses) :]
    taken = {int(i) for i, j in zip(*linear_sum_assignment(-shared), strict=True) if shared[i, j] >= _FOUND}
    return [pose for i, pose in enumerate(poses) if i not in taken]


def _corners(pose: Pose) -> npt.NDArray[np.float64]:
    """(4,) upper left and lower right corner of the box around the joints that are seen."""
    seen = pose.keypoints[pose.scores >= SEEN] if (pose.scores >= SEEN).any() else pose.keypoints
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]).astype(np.float64)


def _reach(pose: Pose, other: Pose) -> float:
    """Side of the largest square around one person's middle that holds no joint of the other's."""
    apart = np.abs(other.keypoints[other.scores >= SEEN] - _square_of(pose).center)
    return 2 * float(apart.max(axis=1).min())


def _same(a: Pose, b: Pose) -> bool:
    apart = float(np.linalg.norm(a.keypoints - b.keypoints, axis=-1).mean())
    return apart < _SAME * float(min(a.box[2], b.box[2]))
