"""Which frames of a video to label: where much moves, and where a network is in doubt."""

import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB
from hourglass.inference.inputs_outputs import write_picture
from hourglass.inference.poses.pose import Pose
from hourglass.inference.video.frames import Clip, Frame, Selection
from hourglass.inference.video.joints_log import Person
from hourglass.inference.video.open_video import open_clip

if TYPE_CHECKING:
    from hourglass.inference.predictor import Predictor

CANDIDATES = 10
"""So many frames are looked at for each that is wanted."""
_THUMB_PX = 64
_APART = 0.25
"""Doubtful frames lie at least so far from one another, in shares of the mean distance of those wanted."""

Numbers = npt.NDArray[np.float64]


def by_motion(change: Numbers, count: int, taken: Sequence[int] = ()) -> list[int]:
    """Rows of frames such that about as much happens between any two of them.

    Args:
        change: (N,) how much each frame differs from the one before it; the first is 0.
        taken: rows that are not to be given.
    """
    free = [row for row in range(len(change)) if row not in set(taken)]
    way = np.cumsum(change + max(float(change.mean()), 1e-9) / 10)  # a still clip is spread over time
    chosen: list[int] = []
    for target in (np.arange(count) + 0.5) / max(count, 1) * way[-1]:
        left = [row for row in free if row not in chosen]
        if left:
            chosen.append(min(left, key=lambda row: abs(way[row] - target)))
    return sorted(chosen)


def by_doubt(doubt: Numbers, count: int, taken: Sequence[int] = (), apart: int = 1) -> list[int]:
    """Rows of the most doubtful frames, `apart` rows or more from one another and from those taken.

    They may be fewer than `count`. Rows of NaN are never given.
    """
    chosen: list[int] = []
    for row in np.argsort(-np.nan_to_num(doubt, nan=-1), kind="stable").tolist():
        near = [other for other in (*taken, *chosen) if abs(other - row) < apart]
        if len(chosen) < count and not near and not np.isnan(doubt[row]):
            chosen.append(row)
    return sorted(chosen)


def unsureness(pose: Pose, joints: Sequence[str]) -> float:
    """0 to 1: 1 less the mean confidence of these joints, or their score where the weights have none."""
    said = pose.scores if pose.confidences is None else pose.confidences
    return 1 - float(np.clip(said[[pose.skeleton.index(joint) for joint in joints]], 0, 1).mean())


def doubts(people: Sequence[Sequence[Person]]) -> Numbers:
    """(N,) 0 to 2, how doubtful the people are whom a network followed through N frames.

    That is of the worst person: `unsureness`, plus how far the joints jump from the middle between the frames
    before and after, on average in sides of the person's box, 1 at most. A frame without anybody has 1.
    """
    found = [{person.number: person.found for person in row} for row in people]
    values = np.ones(len(found))
    for n, row in enumerate(found):
        worst = []
        for number, pose in row.items():
            jump = 0.0
            if 0 < n < len(found) - 1 and number in found[n - 1] and number in found[n + 1]:
                middle = (found[n - 1][number].keypoints + found[n + 1][number].keypoints) / 2
                apart = np.linalg.norm(pose.keypoints - middle, axis=1).mean()
                jump = min(float(apart) / float(max(pose.box[2:])), 1.0)
            worst.append(unsureness(pose, pose.skeleton.joints) + jump)
        values[n] = max(worst, default=1.0)
    return values


def pick_frames(
    video: str,
    folder: Path,
    count: int,
    predictor: "Predictor | None" = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Path]:
    """Write frames of a video as JPEG files until the folder holds `count` of them; the new ones.

    Half of them are taken by motion, half by doubt where there is a predictor. A frame's name is the video's,
    four letters that tell it from others of that name, and the frame's number, so that the same frame is
    never written twice.

    Raises ValueError, FileNotFoundError or VideoError naming the video or the option.
    """
    if count < 1:
        raise ValueError(f"--frames is {count}; it must be 1 at least")
    clip = open_clip(video, with_sound=False)
    every = max(1, clip.total // (CANDIDATES * count) if clip.total else round(clip.rate / 5))
    start = f"{Path(video).stem}-{hashlib.sha256(clip.identity.encode()).hexdigest()[:4]}-"
    there = {
        int(path.stem[len(start) :])
        for path in folder.glob(f"{glob.escape(start)}*.jpg")
        if path.stem[len(start) :].isdecimal()
    }
    clip.close()
    if len(there) >= count:
        return []
    change, numbers, people = _look(open_clip(video, Selection(every), with_sound=False), predictor, progress)
    if not numbers:
        raise ValueError(f"{video} holds no frame that can be read")
    taken = [int(np.abs(np.array(numbers) - number).argmin()) for number in there]
    wanted = count - len(there)
    doubtful: list[int] = []
    if predictor is not None:
        apart = max(1, round(_APART * len(numbers) / count))
        doubtful = by_doubt(doubts(people), wanted // 2, taken, apart)
    rows = sorted([*doubtful, *by_motion(change, wanted - len(doubtful), [*taken, *doubtful])])
    chosen = {numbers[row] for row in rows}
    written = []
    for frame in _frames(open_clip(video, Selection(every), with_sound=False)):
        if frame.index in chosen and frame.image is not None:
            written.append(folder / f"{start}{frame.index:06d}.jpg")
            write_picture(written[-1], frame.image)
    return written


def _look(
    clip: Clip, predictor: "Predictor | None", progress: Callable[[int, int | None], None]
) -> tuple[Numbers, list[int], list[tuple[Person, ...]]]:
    """Of the frames that can be read: how much each changes, its number, and its people."""
    from hourglass.inference.video.track import Follower  # not needed, and slow to import, without a network

    follow = None if predictor is None else Follower(predictor)
    change, numbers, people = [], [], []
    last: npt.NDArray[np.float64] | None = None
    for done, frame in enumerate(_frames(clip), 1):
        progress(done, clip.total)
        if frame.image is None:
            continue
        thumb = _thumb(frame.image)
        change.append(
            0.0 if last is None or last.shape != thumb.shape else float(np.abs(thumb - last).mean())
        )
        last = thumb
        numbers.append(frame.index)
        people.append(() if follow is None else follow(frame.image))
    return np.array(change), numbers, people


def _frames(clip: Clip) -> Iterator[Frame]:
    try:
        yield from (item for item in clip.produce(None) if isinstance(item, Frame))
    finally:
        clip.close()


def _thumb(image: RGB) -> Numbers:
    scale = _THUMB_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return grey.astype(np.float64)
