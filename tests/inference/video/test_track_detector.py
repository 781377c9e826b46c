"""Everybody whom a detector finds, followed: who comes, goes, hides, and the numbers they have."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from hourglass.inference.video.joints_log import Person, Record
from hourglass.inference.video.track import DETECT_EVERY, Follower
from inference.video.clips import RGB, Points, dot_predictor, dotted, triangle

HERE, THERE, THIRD = triangle(24, 30), triangle(100, 30), triangle(62, 72)


class BlobDetector:
    """Boxes around dots that lie close to one another; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: RGB) -> list[list[float]]:
        self.asked += 1
        coloured = (image != 128).any(-1).astype(np.uint8)
        near = cv2.dilate(coloured, np.ones((21, 21), np.uint8))
        count, labels = cv2.connectedComponents(near)
        boxes = []
        for label in range(1, count):
            y, x = np.nonzero((labels == label) & (coloured > 0))
            boxes.append([x.min(), y.min(), x.max() - x.min() + 1.0, y.max() - y.min() + 1.0])
        return boxes


def detecting(detect_every: int = DETECT_EVERY) -> tuple[Follower, BlobDetector]:
    predictor, detector = dot_predictor(), BlobDetector()
    predictor.detector = detector
    return Follower(predictor, detect_every=detect_every), detector


def follow(follower: Follower, places: Sequence[Sequence[Points]]) -> list[tuple[Person, ...]]:
    return [follower(dotted(people)) for people in places]


def numbers(found: Sequence[Sequence[Person]]) -> list[list[int]]:
    return [[person.number for person in people] for people in found]


def near(person: Person, truth: Points) -> bool:
    return bool(np.abs(person.found.keypoints - truth).max() < 1.5)


def test_everybody_in_the_first_frame_is_followed_and_the_detector_rests() -> None:
    follower, detector = detecting()
    left = [triangle(24 + i, 30) for i in range(10)]
    right = [triangle(100 - i, 60) for i in range(10)]
    found = follow(follower, list(zip(left, right, strict=True)))
    assert detector.asked == 1
    for people, *truth in zip(found, left, right, strict=True):
        assert [p.number for p in people] == [0, 1]
        assert all(near(p, t) for p, t in zip(people, truth, strict=True))


def test_who_comes_later_is_found_when_it_is_time_and_has_the_next_number() -> None:
    follower, detector = detecting(4)
    found = follow(follower, [[HERE]] * 2 + [[HERE, THERE]] * 6)
    assert numbers(found) == [[0]] * 4 + [[0, 1]] * 4
    assert near(found[4][1], THERE)
    assert detector.asked == 2
    assert not any(person.moved for people in found for person in people)


def test_who_has_gone_is_followed_no_longer_and_numbers_are_not_used_twice() -> None:
    follower, _ = detecting(4)
    found = follow(follower, [[HERE, THERE]] * 2 + [[HERE]] * 4 + [[HERE, THIRD]] * 4)
    assert numbers(found)[:4] == [[0, 1]] * 4
    assert numbers(found)[4:8] == [[0]] * 4
    assert numbers(found)[8:] == [[0, 2]] * 2
    assert near(found[-1][1], THIRD)


def test_who_jumps_is_the_same_one_anew() -> None:
    follower, _ = detecting(4)
    nearby = triangle(24, 52)
    found = follow(follower, [[HERE, THERE]] * 4 + [[nearby, THERE]] * 3)
    assert numbers(found) == [[0, 1]] * 7
    assert near(found[4][0], nearby)
    assert [people[1].moved for people in found] == [False] * 7


def test_everybody_lost_is_looked_for_at_once() -> None:
    follower, detector = detecting()
    found = follow(follower, [[HERE], [THERE], [THERE]])
    assert near(found[1][0], THERE)
    assert detector.asked == 2


def test_while_nobody_is_there_each_frame_is_searched() -> None:
    follower, detector = detecting()
    found = follow(follower, [[], [], [], [HERE], [HERE]])
    assert numbers(found) == [[], [], [], [0], [0]]
    assert detector.asked == 4


def test_boxes_of_the_first_frame_come_before_the_detector() -> None:
    predictor = dot_predictor()
    predictor.detector = BlobDetector()
    follower = Follower(predictor, [(8, 12, 34, 34)], 2)
    assert numbers(follow(follower, [[HERE, THERE]] * 4)) == [[0]] * 4
    assert predictor.detector.asked == 0


@pytest.mark.parametrize("stop", range(1, 12))
def test_following_goes_on_from_records_as_if_it_had_never_stopped(stop: int) -> None:
    frames = [[], [HERE], [HERE, THERE], [HERE, THERE], [THERE], [THERE], [], [], [THIRD], [THIRD, HERE]]
    places: list[list[Points]] = [*frames, [THIRD], [THIRD]]
    straight = follow(detecting(3)[0], places)
    follower, _ = detecting(3)
    for i, people in enumerate(straight[:stop]):
        follower.restore(Record(i, i / 25, people))
        follower.restore(Record(i, i / 25, error="a broken frame says nothing"))
    for before, after in zip(straight[stop:], follow(follower, places[stop:]), strict=True):
        assert [(p.number, p.moved, p.found.to_dict()) for p in before] == [
            (p.number, p.moved, p.found.to_dict()) for p in after
        ]
