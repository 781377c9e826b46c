from collections.abc import Sequence

import numpy as np
import pytest

from hourglass.inference.forward import CropAnswer
from hourglass.inference.video.joints_log import Person, Record
from hourglass.inference.video.track import Follower
from inference.video.clips import RGB, Points, dot_predictor, dotted, triangle


def near(person: Person, truth: Points, px: float = 1.0) -> bool:
    return bool(np.abs(person.found.keypoints - truth).max() < px)


def walk(frames: int) -> list[Points]:
    """A person who crosses the picture and comes nearer."""
    return [triangle(25 + 2.5 * i, 48 + 8 * np.sin(i / 4), 12 + 0.3 * i) for i in range(frames)]


def follow(follower: Follower, places: Sequence[Sequence[Points]]) -> list[tuple[Person, ...]]:
    return [follower(dotted(people)) for people in places]


def test_one_person_is_found_and_followed() -> None:
    truth = walk(30)
    follower = Follower(dot_predictor())
    found = follow(follower, [[place] for place in truth])
    for i, ((person,), place) in enumerate(zip(found, truth, strict=True)):
        assert near(person, place), i
        assert (person.number, person.moved) == (0, False)
        # The box goes along: the joints lie in its middle half or so, and it doesn't span the picture.
        middle = person.found.box[:2] + person.found.box[2:] / 2
        assert np.abs(middle - place.mean(axis=0)).max() < 0.25 * person.found.box[2]
        assert person.found.box[2] < 110


def test_following_takes_one_pass_where_searching_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = dot_predictor()
    crops: list[int] = []
    whole = predictor.answer_crops

    def counted(views: RGB) -> CropAnswer:
        crops.append(len(views))
        return whole(views)

    monkeypatch.setattr(predictor, "answer_crops", counted)
    follower = Follower(predictor)
    frames = [dotted([place]) for place in walk(6)]
    follower(frames[0])
    first = len(crops)
    assert first >= 2
    for frame in frames[1:]:
        follower(frame)
    assert len(crops) - first == 5


def test_a_square_that_hardly_changes_stays() -> None:
    follower = Follower(dot_predictor())
    rng = np.random.default_rng(0)
    boxes = [follower(dotted([triangle(60, 50) + rng.normal(0, 0.3, (1, 2))]))[0].found.box for _ in range(8)]
    assert all((box == boxes[2]).all() for box in boxes[3:])


def test_who_jumps_away_is_searched_for_and_marked() -> None:
    follower = Follower(dot_predictor())
    here, there = triangle(25, 30), triangle(100, 65)
    people = follow(follower, [[here], [here], [there], [there]])
    assert [person.moved for (person,) in people] == [False, False, True, False]
    assert all(near(p, place) for (p,), place in zip(people, (here, here, there, there), strict=True))


def test_who_leaves_is_found_when_back() -> None:
    follower = Follower(dot_predictor())
    place = triangle(40, 50)
    people = follow(follower, [[place], [], [], [], [triangle(90, 40)]])
    assert near(people[-1][0], triangle(90, 40))
    # Nobody is made up in between: there are joints, but their scores say what they are worth.
    assert max(person.found.score for (person,) in people[1:4]) < 0.2


def test_several_people_keep_their_numbers() -> None:
    left = [triangle(25 + i, 40) for i in range(12)]
    right = [triangle(100 - i, 60, 13) for i in range(12)]
    boxes = [(8, 20, 34, 32), (84, 42, 32, 30)]
    found = follow(Follower(dot_predictor(), boxes), list(zip(left, right, strict=True)))
    for people, *truth in zip(found, left, right, strict=True):
        assert [p.number for p in people] == [0, 1]
        assert all(near(p, t) for p, t in zip(people, truth, strict=True))


def test_one_of_two_who_is_hidden_keeps_looking_and_does_not_take_the_other() -> None:
    a, b = triangle(25, 48), triangle(80, 48)
    boxes = [(8, 28, 34, 34), (63, 28, 34, 34)]
    follower = Follower(dot_predictor(), boxes)
    found = follow(follower, [[a, b], [b], [b], [b], [b], [b], [b], [a, b], [a, b], [a, b]])
    assert all(near(people[1], b) for people in found)
    # The square grows while nobody is in it.
    sides = [float(people[0].found.box[2]) for people in found[1:5]]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1]
    assert near(found[-1][0], a)
    assert near(found[-1][1], b)


def test_nobody_at_all() -> None:
    follower = Follower(dot_predictor(), [])
    assert follow(follower, [[triangle(40, 40)]] * 2) == [(), ()]


def test_a_box_outside_the_first_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="lies outside the picture of 128 x 96 px"):
        Follower(dot_predictor(), [(500, 10, 30, 30)])(dotted([]))


@pytest.mark.parametrize("lost", [False, True])
def test_following_goes_on_from_a_record_as_if_it_had_never_stopped(lost: bool) -> None:
    places: list[list[Points]] = [[place] for place in walk(12)]
    if lost:
        places[5] = places[6] = []
    straight = follow(Follower(dot_predictor()), places)
    follower = Follower(dot_predictor())
    follower.restore(Record(5, 0.2, straight[5]))
    follower.restore(Record(6, 0.24, error="a broken frame says nothing"))
    resumed = follow(follower, places[6:])
    for before, after in zip(straight[6:], resumed, strict=True):
        assert before[0].moved == after[0].moved
        assert before[0].found.to_dict() == after[0].found.to_dict()
