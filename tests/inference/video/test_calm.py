import numpy as np
import pytest

from hourglass.inference.poses.pose import Pose
from hourglass.inference.video.joints_log import Person, Record
from hourglass.inference.video.smooth import (
    Calmer,
    JitterMeter,
    OneEuro,
    SavitzkyGolay,
    Smoothing,
    jitter,
    one_euro,
    savitzky_golay,
)
from inference.video.clips import DOTS

Array = np.ndarray


def tracks(seed: int, frames: int = 25, people: int = 2) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(people, frames, 3, 2)).cumsum(1) * 4 + 100
    return places, rng.uniform(0.2, 1, (people, frames, 3)), rng.uniform(0.02, 0.08, frames).cumsum()


def records(
    places: Array, scores: Array, times: Array, moved: tuple[int, ...] = (), broken: tuple[int, ...] = ()
) -> list[Record]:
    made = []
    for i, time_s in enumerate(times):
        if i in broken:
            made.append(Record(i, float(time_s), error="broken"))
            continue
        people = tuple(
            Person(
                n,
                Pose(
                    places[n, i].astype(np.float32),
                    scores[n, i].astype(np.float32),
                    DOTS,
                    np.array([0, 0, 80, 80], np.float32),
                ),
                moved=i in moved,
            )
            for n in range(len(places))
        )
        made.append(Record(i, float(time_s), people))
    return made


def run(smoothing: Smoothing, given: list[Record]) -> list[Record]:
    calmer: Calmer[int] = Calmer(smoothing, margin=1.6)
    out = [pair for i, record in enumerate(given) for pair in calmer.push(i, record)] + calmer.flush()
    # Every frame comes once, in order, with its own payload.
    assert [payload for payload, _ in out] == [record.frame for _, record in out] == list(range(len(given)))
    assert calmer.waiting == 0
    return [record for _, record in out]


def shown(given: list[Record], number: int) -> Array:
    return np.stack([record.people[number].pose.keypoints for record in given])


@pytest.mark.parametrize("half_frames", [2, 12])
def test_frame_by_frame_gives_what_the_whole_track_gives(half_frames: int) -> None:
    places, scores, times = tracks(0)
    golay = SavitzkyGolay(0.2, half_frames, 2)
    out = run(golay, records(places, scores, times))
    for n in range(2):
        expected = savitzky_golay(places[n].astype(np.float32), scores[n].astype(np.float32), times, golay)
        np.testing.assert_allclose(shown(out, n), expected, atol=1e-3)
    out = run(OneEuro(), records(places, scores, times))
    for n in range(2):
        # Squares of 80 px with a margin of 1.6 are people of 50 px.
        expected = one_euro(
            places[n].astype(np.float32), scores[n].astype(np.float32), times, OneEuro(), 50.0
        )
        np.testing.assert_allclose(shown(out, n), expected, atol=1e-3)


@pytest.mark.parametrize("smoothing", [OneEuro(), SavitzkyGolay()])
def test_a_person_who_moved_begins_anew(smoothing: OneEuro | SavitzkyGolay) -> None:
    places, scores, times = tracks(1)
    places[:, 10:] += 500
    out = run(smoothing, records(places, scores, times, moved=(10,)))
    alone = [
        run(smoothing, records(places[:, part], scores[:, part], times[part]))
        for part in (slice(10), slice(10, 25))
    ]
    for n in range(2):
        expected = np.concatenate([shown(part, n) for part in alone])
        np.testing.assert_allclose(shown(out, n), expected, atol=1e-3)


@pytest.mark.parametrize("smoothing", [OneEuro(), SavitzkyGolay()])
def test_a_broken_frame_stays_in_its_place_and_the_track_goes_on(smoothing: OneEuro | SavitzkyGolay) -> None:
    places, scores, times = tracks(2)
    out = run(smoothing, records(places, scores, times, broken=(7, 8)))
    assert [record.error for record in out[6:10]] == ["", "broken", "broken", ""]
    kept = [i for i in range(25) if i not in (7, 8)]
    whole = run(smoothing, records(places[:, kept], scores[:, kept], times[kept]))
    np.testing.assert_allclose(shown([out[i] for i in kept], 0), shown(whole, 0), atol=1e-3)


def test_few_frames_wait_and_old_ones_go() -> None:
    places, scores, times = tracks(3, frames=400, people=1)
    golay = SavitzkyGolay(10.0, 5, 2)
    calmer: Calmer[int] = Calmer(golay, 1.6)
    given = 0
    for i, record in enumerate(records(places, scores, times)):
        given += len(calmer.push(i, record))
        assert calmer.waiting == min(i + 1, 5)
        assert len(calmer._entries) <= 11
    assert given + len(calmer.flush()) == 400


def test_a_frame_is_ready_when_its_window_has_passed() -> None:
    places, scores, _ = tracks(4, frames=4, people=1)
    calmer: Calmer[int] = Calmer(SavitzkyGolay(0.1, 12, 1), 1.6)
    given = [
        len(calmer.push(i, r)) for i, r in enumerate(records(places, scores, np.array([0, 0.05, 0.1, 0.3])))
    ]
    # At 0.3 s nothing that comes later lies within 0.1 s of the first three.
    assert given == [0, 0, 0, 3]


def test_none_passes_on_what_comes() -> None:
    places, scores, times = tracks(5)
    given = records(places, scores, times)
    assert run(None, given) == given


def test_the_meter_measures_before_and_after() -> None:
    places, scores, times = tracks(6, people=2)
    out = run(SavitzkyGolay(), records(places, scores, times))
    meter = JitterMeter()
    for record in out:
        meter.add(record)
    found = places.astype(np.float32)
    before = np.mean([jitter(found[n], times) for n in range(2)])
    after = np.mean([jitter(shown(out, n), times) for n in range(2)])
    assert meter.found == pytest.approx(before, rel=1e-4)
    assert meter.smoothed == pytest.approx(after, rel=1e-4)
    assert after < 0.5 * before
    assert (JitterMeter().found, JitterMeter().smoothed) == (0.0, 0.0)


def test_the_meter_leaves_out_the_jump_of_a_person_who_moved() -> None:
    places, scores, times = tracks(7, people=1)
    places[:] = 50.0
    places[:, 12:] = 900.0
    meter = JitterMeter()
    for record in records(places, scores, times, moved=(12,)):
        meter.add(record)
    assert meter.found == pytest.approx(0.0)
