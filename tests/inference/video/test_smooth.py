import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.inference.video.smooth import (
    OneEuro,
    SavitzkyGolay,
    accelerations,
    jitter,
    one_euro,
    savitzky_golay,
    smoothing,
)

PAPER = OneEuro(cutoff_hz=1.2, beta=0.7, speed_cutoff_hz=1.5, lead=0.0, top_speed=math.inf)


def track(seed: int, frames: int = 30, joints: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random walk, random scores and unevenly spaced times."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(frames, joints, 2)).cumsum(0) * 5
    return places, rng.uniform(0.1, 1, (frames, joints)), rng.uniform(0.01, 0.09, frames).cumsum()


def paper_one_euro(
    xs: list[float], times: list[float], fcmin: float, beta: float, dcutoff: float
) -> list[float]:
    """Algorithms 1 and 2 of the paper for one coordinate, as it prints them."""

    def alpha(cutoff: float, period: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / period)

    out, dx_hat = [xs[0]], 0.0
    for i in range(1, len(xs)):
        period = times[i] - times[i - 1]
        dx = (xs[i] - out[-1]) / period
        a = alpha(dcutoff, period)
        dx_hat = a * dx + (1 - a) * dx_hat
        a = alpha(fcmin + beta * abs(dx_hat), period)
        out.append(a * xs[i] + (1 - a) * out[-1])
    return out


def test_one_euro_is_the_papers_filter_when_all_frames_are_sure() -> None:
    places, _, times = track(0)
    # A joint that moves along x only has the speed of one coordinate, as the paper's signals do.
    places[..., 1] = 7.0
    got = one_euro(places, np.ones(places.shape[:2]), times, PAPER)
    for joint in range(places.shape[1]):
        expected = paper_one_euro(places[:, joint, 0].tolist(), times.tolist(), 1.2, 0.7, 1.5)
        np.testing.assert_allclose(got[:, joint, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(got[..., 1], 7.0, rtol=1e-12)


def test_one_euro_by_hand() -> None:
    # Cut-off 1/(2 pi) Hz and steps of 1 s make both shares 1/2; the scores 1 and 0.5 weigh the second step.
    settings_ = OneEuro(1 / (2 * math.pi), 0.0, 1.0, lead=0.0)
    points = np.array([[[0.0, 0.0]], [[6.0, 3.0]], [[6.0, 3.0]]])
    got = one_euro(points, np.array([[1.0], [0.5], [0.0]]), np.arange(3.0), settings_)
    # 0.25 of new against 0.5 of old evidence: a third of the way; then nothing.
    np.testing.assert_allclose(got[:, 0], [(0, 0), (2, 1), (2, 1)], atol=1e-12)


def test_lead_lets_a_joint_go_on_with_its_speed() -> None:
    line = np.arange(60.0)[:, None, None] * np.ones((1, 1, 2)) * 3
    sure, times = np.ones((60, 1)), np.arange(60) / 25
    late, led, on_time = (
        line[-1, 0, 0] - one_euro(line, sure, times, OneEuro(1.0, 0.0, 5.0, lead, math.inf))[-1, 0, 0]
        for lead in (0, 0.5, 1)
    )
    assert late > led > abs(on_time)
    # A filter that foresees all of the speed is in step with a line once it knows the speed.
    assert abs(on_time) < 0.1 * late


def test_a_joint_that_jumps_there_and_back_is_not_carried_past() -> None:
    # Left and right exchanged for three frames: as far as the person is large.
    places = np.zeros((12, 1, 2))
    places[4:7, 0, 0] = 100.0
    sure, times = np.ones((12, 1)), np.arange(12) / 25
    past = [
        np.clip(-one_euro(places, sure, times, OneEuro(top_speed=top), 100.0)[7:], 0, None).max()
        for top in (1.0, math.inf)
    ]
    # At most the lead of one frame at the top speed.
    assert past[0] < 100 * 1.0 * 0.8 / 25 < past[1]


def brute_savgol(places: np.ndarray, scores: np.ndarray, times: np.ndarray, s: SavitzkyGolay) -> np.ndarray:
    """numpy.polyfit, frame by frame, joint by joint, coordinate by coordinate."""
    out = places.copy()
    for i, t in enumerate(times):
        near = [
            k
            for k in range(len(times))
            if abs(times[k] - t) <= s.half_window_s and abs(k - i) <= s.half_window_frames
        ]
        for j in range(places.shape[1]):
            # polyfit squares its weights.
            w = np.sqrt(scores[near, j])
            for c in range(2):
                out[i, j, c] = np.polyfit(times[near] - t, places[near, j, c], s.order, w=w)[-1]
    return out


@pytest.mark.parametrize(
    "chosen", [SavitzkyGolay(0.25, 12, 2), SavitzkyGolay(0.4, 4, 1), SavitzkyGolay(0.5, 20, 3)]
)
def test_savitzky_golay_is_a_weighted_fit_around_each_frame(chosen: SavitzkyGolay) -> None:
    places, scores, times = track(1)
    got = savitzky_golay(places, scores, times, chosen)
    # The ridge that keeps thin windows solvable costs a one-sided cubic a hundred-thousandth of a pixel.
    np.testing.assert_allclose(got, brute_savgol(places, scores, times, chosen), atol=1e-4)


def test_savitzky_golay_has_the_textbook_weights() -> None:
    # Savitzky and Golay's table: five points, quadratic: (-3, 12, 17, 12, -3) / 35.
    impulse = np.zeros((9, 1, 2))
    impulse[4] = 35.0
    got = savitzky_golay(impulse, np.ones((9, 1)), np.arange(9) / 25, SavitzkyGolay(0.08, 2, 2))
    np.testing.assert_allclose(got[2:7, 0, 0], (-3, 12, 17, 12, -3), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["one-euro", "savitzky-golay"]))
def test_a_joint_that_rests_stays(seed: int, name: str) -> None:
    places, scores, times = track(seed, 12)
    places[:] = places[:1]
    smooth = smoothing(name)
    got = (
        one_euro(places, scores, times, smooth)
        if isinstance(smooth, OneEuro)
        else savitzky_golay(places, scores, times)
    )
    np.testing.assert_allclose(got, places, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]))
def test_savitzky_golay_keeps_polynomials_of_its_order(seed: int, order: int) -> None:
    _, scores, times = track(seed, 20)
    rng = np.random.default_rng(seed)
    curve = sum(rng.normal(size=(1, 3, 2)) * 40 * times[:, None, None] ** p for p in range(order + 1))
    got = savitzky_golay(np.asarray(curve), scores, times, SavitzkyGolay(0.3, 12, order))
    np.testing.assert_allclose(got, curve, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_stretching_time_changes_nothing_but_the_unit(seed: int, stretch: float) -> None:
    places, scores, times = track(seed, 20)
    slow = savitzky_golay(places, scores, times * stretch, SavitzkyGolay(0.2 * stretch))
    np.testing.assert_allclose(slow, savitzky_golay(places, scores, times, SavitzkyGolay(0.2)), atol=1e-5)
    base = OneEuro(2.0, 1.5, 1.0, 0.5, 3.0)
    slowed = OneEuro(2.0 / stretch, 1.5, 1.0 / stretch, 0.5, 3.0 / stretch)
    np.testing.assert_allclose(
        one_euro(places, scores, times * stretch, slowed, 50.0),
        one_euro(places, scores, times, base, 50.0),
        atol=1e-7,
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30), st.sampled_from(["one-euro", "savitzky-golay"]))
def test_near_and_far_people_are_smoothed_alike(seed: int, scale: float, name: str) -> None:
    places, scores, times = track(seed, 15)

    def run(points: np.ndarray, size_px: float) -> np.ndarray:
        smooth = smoothing(name)
        if isinstance(smooth, OneEuro):
            return one_euro(points, scores, times, smooth, size_px)
        return savitzky_golay(points, scores, times)

    shift = np.array([100.0, -30.0])
    np.testing.assert_allclose(
        run(places * scale + shift, 80 * scale), run(places, 80) * scale + shift, atol=1e-6 * scale, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["one-euro", "savitzky-golay"])
def test_a_joint_that_scores_nothing_pulls_nothing(name: str) -> None:
    places, scores, times = track(3)
    scores[11, 1] = 0.0
    wild = places.copy()
    wild[11, 1] += 1e4
    run = one_euro if name == "one-euro" else savitzky_golay
    np.testing.assert_allclose(run(wild, scores, times), run(places, scores, times), atol=1e-5)
    # And it would have: the same jump of a sure joint is seen.
    scores[11, 1] = 1.0
    assert np.abs(run(wild, scores, times) - run(places, scores, times)).max() > 10


@pytest.mark.parametrize("name", ["one-euro", "savitzky-golay"])
def test_the_surer_frame_counts_more(name: str) -> None:
    places, scores, times = np.zeros((9, 1, 2)), np.full((9, 1), 0.5), np.arange(9) / 25
    places[4] = 10.0
    run = one_euro if name == "one-euro" else savitzky_golay
    shown = []
    for score in (0.1, 0.5, 1.0):
        scores[4] = score
        shown.append(run(places, scores, times)[4, 0, 0])
    assert 0 < shown[0] < shown[1] < shown[2] < 10


def test_without_any_sure_frame_joints_stay_where_they_are_shown() -> None:
    places, _, times = track(4)
    never = np.zeros(places.shape[:2])
    np.testing.assert_allclose(savitzky_golay(places, never, times), places)
    np.testing.assert_allclose(one_euro(places, never, times), places)
    # The first sure frame takes over whole.
    late = never.copy()
    late[10] = 0.8
    np.testing.assert_allclose(one_euro(places, late, times)[10], places[10])


def test_jitter_is_the_mean_acceleration() -> None:
    # x = 3 t^2 accelerates by 6, whatever the spacing; the joint at rest halves the mean.
    times = np.array([0.0, 0.1, 0.4, 0.5, 0.9])
    places = np.zeros((5, 2, 2))
    places[:, 0, 0] = 3 * times**2
    np.testing.assert_allclose(accelerations(places, times)[:, 0], [(6.0, 0.0)] * 3, atol=1e-9)
    assert jitter(places, times) == pytest.approx(3.0)
    assert jitter(places[:2], times[:2]) == 0.0


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"cutoff_hz": 0.0}, "cutoff_hz"),
        ({"beta": -1.0}, "beta"),
        ({"speed_cutoff_hz": -2.0}, "speed_cutoff_hz"),
        ({"lead": 1.5}, "lead"),
        ({"top_speed": 0.0}, "top_speed"),
    ],
)
def test_one_euro_refuses(settings_: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        OneEuro(**settings_)


def test_savitzky_golay_and_tracks_refuse() -> None:
    with pytest.raises(ValueError, match="half_window_s"):
        SavitzkyGolay(half_window_s=0)
    with pytest.raises(ValueError, match="half_window_frames"):
        SavitzkyGolay(half_window_frames=0)
    with pytest.raises(ValueError, match="order"):
        SavitzkyGolay(order=9)
    with pytest.raises(ValueError, match="'kalman' is not one of none, one-euro, savitzky-golay"):
        smoothing("kalman")
    places, scores, times = track(5)
    for run in (one_euro, savitzky_golay):
        with pytest.raises(ValueError, match="frame times must rise"):
            run(places, scores, times[::-1])
        with pytest.raises(ValueError, match="scores have the shape"):
            run(places, scores[:, :2], times)
        with pytest.raises(ValueError, match="times_s has the shape"):
            run(places, scores, times[:-1])
