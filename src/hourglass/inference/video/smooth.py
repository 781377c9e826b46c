"""Joints over time made calmer, weighted by confidence, at once or while a video runs, and how they jitter.

All times are seconds and may be unevenly spaced. Weights are scores clipped to 0..1: a joint that scores 0
in a frame says nothing about where it is, so it pulls nothing.
"""

from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar, get_args

import numpy as np

from hourglass.core.arrays import Float64Array, FloatArray
from hourglass.inference.video.joints_log import Person, Record

SmoothingName = Literal["none", "one-euro", "savitzky-golay"]
SMOOTHINGS: tuple[str, ...] = get_args(SmoothingName)

_RIDGE = 1e-10
"""Of the fit's own weight: enough to solve where a window has fewer sure frames than the curve terms."""
_STILL = 1e-9
"""Slower than this a joint stands still."""


@dataclass(frozen=True)
class OneEuro:
    """Settings of the 1-euro filter (Casiez, Roussel and Vogel, CHI 2012).

    Speeds are measured in sizes of the person per second, so that one setting serves near and far people.

    Args:
        cutoff_hz: cut-off frequency of a joint at rest; lower is calmer and later.
        beta: how much the cut-off frequency rises with a joint's speed; higher follows sooner.
        speed_cutoff_hz: cut-off frequency of the speed itself.
        lead: the share of its speed with which a joint is taken to go on before a new frame corrects it
            (ours: a low-pass that only looks back comes late, and late is wrong). 0 is the filter of the
            paper.
        top_speed: no joint is taken to be faster (ours: left and right exchanged look like a speed, and to
            go on with that would overshoot). Infinity is the filter of the paper.

    The defaults were chosen on a rendered clip; docs/video.md has the numbers.
    """

    cutoff_hz: float = 4.0
    beta: float = 2.0
    speed_cutoff_hz: float = 2.0
    lead: float = 0.8
    top_speed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("cutoff_hz", "speed_cutoff_hz", "top_speed"):
            if not getattr(self, name) > 0:
                raise ValueError(f"one-euro: {name} is {getattr(self, name)}; it must be positive")
        if not self.beta >= 0:
            raise ValueError(f"one-euro: beta is {self.beta}; it can't be negative")
        if not 0 <= self.lead <= 1:
            raise ValueError(f"one-euro: lead is {self.lead}; it must be 0 to 1")


@dataclass(frozen=True)
class SavitzkyGolay:
    """Settings of the local polynomial fit (Savitzky and Golay, 1964; weighted and unevenly spaced: ours).

    Args:
        half_window_s: frames up to this far before and after a frame shape it.
        half_window_frames: and not more than so many on either side, which bounds what is held in memory.
        order: of the polynomial.
    """

    half_window_s: float = 0.2
    half_window_frames: int = 12
    order: int = 2

    def __post_init__(self) -> None:
        if not self.half_window_s > 0:
            raise ValueError(f"savitzky-golay: half_window_s is {self.half_window_s}; it must be positive")
        if self.half_window_frames < 1:
            raise ValueError(
                f"savitzky-golay: half_window_frames is {self.half_window_frames}; it must be 1 or more"
            )
        if not 0 <= self.order <= 5:
            raise ValueError(f"savitzky-golay: order is {self.order}; it must be 0 to 5")


Smoothing = OneEuro | SavitzkyGolay | None


def smoothing(name: str) -> Smoothing:
    """The settings of a smoothing by its name; None for `none`. Raises ValueError for another name."""
    if name not in SMOOTHINGS:
        raise ValueError(f"--smooth {name!r} is not one of {', '.join(SMOOTHINGS)}")
    return {"none": None, "one-euro": OneEuro(), "savitzky-golay": SavitzkyGolay()}[name]


@dataclass
class OneEuroState:
    """One person's filter from frame to frame; `step` takes the frames in order.

    The low-pass is an exponential mean in which each frame counts by its weight, so that after unsure
    frames the next sure one takes over at once. With all weights 1, `lead` 0 and an infinite `top_speed` it
    is the filter of the paper, with one speed for both coordinates.
    """

    settings: OneEuro
    _time_s: float = 0.0
    _place: Float64Array | None = None
    _speed: Float64Array = field(default_factory=lambda: np.zeros(0))
    _mass: Float64Array = field(default_factory=lambda: np.zeros(0))

    def step(self, keypoints: FloatArray, scores: FloatArray, time_s: float, size_px: float) -> Float64Array:
        """Joints (J, 2) as filtered up to now; `scores` (J,). Raises ValueError when time stands still."""
        points, weight = np.asarray(keypoints, np.float64), _weights(scores)
        if self._place is None:
            self._place, self._speed, self._mass = points.copy(), np.zeros_like(points), weight
            self._time_s = time_s
            return points.copy()
        passed_s = time_s - self._time_s
        if not passed_s > 0:
            raise ValueError(f"frame times must rise: {time_s:g} s follows {self._time_s:g} s")
        if not size_px > 0:
            raise ValueError(f"size_px is {size_px}; it must be positive")
        settings = self.settings
        expected = self._place + settings.lead * passed_s * size_px * self._speed
        raw_speed = (points - self._place) / (passed_s * size_px)
        fast = np.maximum(np.linalg.norm(raw_speed, axis=-1, keepdims=True), _STILL)
        raw_speed = raw_speed * np.minimum(settings.top_speed / fast, 1.0)
        slow = _share(np.array(settings.speed_cutoff_hz), passed_s)
        # A place that nobody was ever sure of gives no speed.
        sped = slow * weight * (self._mass > 0)
        kept = (1 - slow) * self._mass + sped
        turn = np.divide(sped, kept, out=np.zeros_like(kept), where=kept > 0)
        self._speed = self._speed + turn[:, None] * (raw_speed - self._speed)
        cutoff_hz = settings.cutoff_hz + settings.beta * np.linalg.norm(self._speed, axis=-1)
        share = _share(cutoff_hz, passed_s)
        old, new = (1 - share) * self._mass, share * weight
        total = old + new
        pull = np.divide(new, total, out=np.zeros_like(total), where=total > 0)
        # A joint that was never sure yet has nothing better than what it shows.
        pull = np.where(self._mass + weight > 0, pull, 1.0)
        self._place = expected + pull[:, None] * (points - expected)
        self._mass, self._time_s = total, time_s
        return self._place.copy()


def one_euro(
    keypoints: FloatArray,
    scores: FloatArray,
    times_s: FloatArray,
    settings: OneEuro | None = None,
    size_px: float | FloatArray = 1.0,
) -> Float64Array:
    """The 1-euro filter over a whole track: (T, J, 2) from joints (T, J, 2), scores (T, J), times (T,).

    `size_px` is the person's size in pixels, for all frames or (T,). Raises ValueError when shapes disagree
    or times don't rise.
    """
    points, _, times = _check(keypoints, scores, times_s)
    sizes = np.broadcast_to(np.asarray(size_px, np.float64), (len(times),))
    state = OneEuroState(settings or OneEuro())
    steps = [
        state.step(p, s, float(t), float(z)) for p, s, t, z in zip(points, scores, times, sizes, strict=True)
    ]
    return np.stack(steps) if steps else points


def savitzky_golay(
    keypoints: FloatArray, scores: FloatArray, times_s: FloatArray, settings: SavitzkyGolay | None = None
) -> Float64Array:
    """A polynomial fitted around every frame: (T, J, 2) from joints (T, J, 2), scores (T, J), times (T,).

    Frame i becomes the value at its own time of the polynomial that is nearest, in weighted least squares,
    to the frames around it. Near the ends the window has one side only. Raises ValueError as `one_euro`.
    """
    chosen = settings or SavitzkyGolay()
    points, weights, times = _check(keypoints, scores, times_s)
    if not len(times):
        return points
    reach = np.arange(-chosen.half_window_frames, chosen.half_window_frames + 1)
    rows = np.arange(len(times))[:, None] + reach
    inside = (rows >= 0) & (rows < len(times))
    rows = np.clip(rows, 0, len(times) - 1)
    apart_s = times[rows] - times[:, None]
    inside &= np.abs(apart_s) <= chosen.half_window_s * (1 + 1e-9)
    return local_fit(points[rows], weights[rows] * inside[..., None], apart_s, points, chosen)


def local_fit(
    points: Float64Array,
    weights: Float64Array,
    apart_s: Float64Array,
    fallback: Float64Array,
    settings: SavitzkyGolay,
) -> Float64Array:
    """Values at 0 s of polynomials fitted to W frames each.

    Args:
        points: (T, W, J, 2); weights: (T, W, J); apart_s: (T, W), times from the frame that is asked for.
        fallback: (T, J, 2), the answer where all weights of a joint are 0.
    """
    u = apart_s / settings.half_window_s
    powers = u[..., None] ** np.arange(settings.order + 1)
    gram = np.einsum("twj,twa,twb->tjab", weights, powers, powers)
    moments = np.einsum("twj,twa,twjc->tjac", weights, powers, points - fallback[:, None])
    mass = weights.sum(axis=1)
    ridge = _RIDGE * np.where(mass > 0, mass, 1.0)
    # The constant term goes free: with one sure frame in the window the answer is that frame.
    calm = np.eye(settings.order + 1)
    calm[0, 0] = 0.0
    gram = gram + ridge[..., None, None] * calm
    gram[..., 0, 0] = np.where(mass > 0, gram[..., 0, 0], 1.0)
    solved = np.linalg.solve(gram, moments)
    return np.asarray(fallback + np.where(mass > 0, 1.0, 0.0)[..., None] * solved[..., 0, :])


def accelerations(keypoints: FloatArray, times_s: FloatArray) -> Float64Array:
    """(T - 2, J, 2) px/s^2: second divided differences of joints (T, J, 2) at times (T,)."""
    points, times = np.asarray(keypoints, np.float64), np.asarray(times_s, np.float64)
    gaps = np.diff(times)
    speeds = np.diff(points, axis=0) / gaps[:, None, None]
    return np.asarray(np.diff(speeds, axis=0) / ((gaps[1:] + gaps[:-1]) / 2)[:, None, None], np.float64)


def jitter(keypoints: FloatArray, times_s: FloatArray) -> float:
    """Mean length of the joints' acceleration in px/s^2, of joints (T, J, 2); 0 for fewer than 3 frames."""
    if len(times_s) < 3:
        return 0.0
    return float(np.linalg.norm(accelerations(keypoints, times_s), axis=-1).mean())


def _weights(scores: FloatArray) -> Float64Array:
    return np.clip(np.asarray(scores, np.float64), 0.0, 1.0)


def _share(cutoff_hz: Float64Array, passed_s: float) -> Float64Array:
    """How much of the way to a new value a first-order low-pass goes within a time step."""
    turn = 2 * np.pi * cutoff_hz * passed_s
    return np.asarray(turn / (turn + 1))


def _check(
    keypoints: FloatArray, scores: FloatArray, times_s: FloatArray
) -> tuple[Float64Array, Float64Array, Float64Array]:
    points, times = np.asarray(keypoints, np.float64), np.asarray(times_s, np.float64)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"keypoints have the shape {points.shape}, expected (T, J, 2)")
    if np.shape(scores) != points.shape[:2]:
        raise ValueError(f"scores have the shape {np.shape(scores)}, expected {points.shape[:2]}")
    if times.shape != points.shape[:1]:
        raise ValueError(f"times_s has the shape {times.shape}, expected {points.shape[:1]}")
    if (np.diff(times) <= 0).any():
        at = int(np.argmax(np.diff(times) <= 0))
        raise ValueError(f"frame times must rise: {times[at + 1]:g} s follows {times[at]:g} s")
    return points, _weights(scores), times


Payload = TypeVar("Payload")


class Calmer(Generic[Payload]):
    """Smooths people's joints over frames that come one by one, each with a payload that travels along.

    The 1-euro filter answers at once; the polynomial fit waits for the frames of its half window. Each
    track is smoothed as `smooth.one_euro` and `smooth.savitzky_golay` would, anew where a person `moved`.

    Args:
        settings: of the smoothing; None passes everything on as it is.
        margin: side of a person's square over the person's size (`WeightFacts.box_margin`).
    """

    def __init__(self, settings: Smoothing, margin: float) -> None:
        self.settings = settings
        self._margin = margin
        self._filters: dict[int, OneEuroState] = {}
        self._entries: list[tuple[Payload, Record]] = []
        self._given = 0

    @property
    def waiting(self) -> int:
        """Frames that were taken and not given yet; `SavitzkyGolay.half_window_frames` at most."""
        return len(self._entries) - self._given

    def push(self, payload: Payload, record: Record) -> list[tuple[Payload, Record]]:
        """Take the next frame; give those that are ready, in order."""
        if isinstance(self.settings, SavitzkyGolay):
            self._entries.append((payload, record))
            return self._ready(self.settings, ended=False)
        return [(payload, self._filtered(record) if self.settings else record)]

    def flush(self) -> list[tuple[Payload, Record]]:
        """The frames that still wait, when no more come."""
        return self._ready(self.settings, ended=True) if isinstance(self.settings, SavitzkyGolay) else []

    def _filtered(self, record: Record) -> Record:
        assert isinstance(self.settings, OneEuro)
        people = []
        for person in record.people:
            if person.moved or person.number not in self._filters:
                self._filters[person.number] = OneEuroState(self.settings)
            pose = person.found
            size_px = max(float(pose.box[2]) / self._margin, 1.0)
            place = self._filters[person.number].step(pose.keypoints, pose.scores, record.time_s, size_px)
            people.append(replace(person, keypoints=place.astype(np.float32)))
        return replace(record, people=tuple(people))

    def _ready(self, settings: SavitzkyGolay, ended: bool) -> list[tuple[Payload, Record]]:
        given = []
        reach_s = settings.half_window_s * (1 + 1e-9)
        while self._given < len(self._entries):
            payload, record = self._entries[self._given]
            behind = len(self._entries) - 1 - self._given
            passed_s = self._entries[-1][1].time_s - record.time_s
            if not ended and behind < settings.half_window_frames and passed_s <= reach_s:
                break
            people = tuple(self._fitted(self._given, person, settings) for person in record.people)
            given.append((payload, replace(record, people=people)))
            self._given += 1
        # What lies before every window to come may go.
        while self._given > settings.half_window_frames:
            del self._entries[0]
            self._given -= 1
        return given

    def _fitted(self, at: int, person: Person, settings: SavitzkyGolay) -> Person:
        """The person of entry `at`, with joints from the same track around it."""
        track = self._track(at, person.number, settings)
        time_s = self._entries[at][1].time_s
        found = [p.found for _, p in track]
        place = local_fit(
            np.stack([pose.keypoints for pose in found]).astype(np.float64)[None],
            np.clip(np.stack([pose.scores for pose in found]), 0, 1).astype(np.float64)[None],
            np.array([[t - time_s for t, _ in track]]),
            person.found.keypoints.astype(np.float64)[None],
            settings,
        )[0]
        return replace(person, keypoints=place.astype(np.float32))

    def _track(self, at: int, number: int, settings: SavitzkyGolay) -> list[tuple[float, Person]]:
        """Times and persons of one number within the window of entry `at`, between searches."""
        reach_s = settings.half_window_s * (1 + 1e-9)
        time_s = self._entries[at][1].time_s
        low = max(at - settings.half_window_frames, 0)
        near: list[tuple[float, Person]] = []
        for place, (_, record) in enumerate(self._entries[low : at + settings.half_window_frames + 1], low):
            for person in record.people:
                if person.number != number or abs(record.time_s - time_s) > reach_s:
                    continue
                if person.moved and place > at:
                    return near
                if person.moved:
                    near.clear()
                near.append((record.time_s, person))
        return near


class JitterMeter:
    """Mean acceleration of everybody's joints, as found and as smoothed, over frames that come one by one."""

    def __init__(self) -> None:
        self._last: dict[int, list[tuple[float, Person]]] = {}
        self._sums = np.zeros(2)
        self._count = 0

    def add(self, record: Record) -> None:
        """Take the next frame."""
        for person in record.people:
            last = [] if person.moved else self._last.get(person.number, [])
            last = [*last[-2:], (record.time_s, person)]
            self._last[person.number] = last
            if len(last) == 3:
                times_s = np.array([t for t, _ in last])
                found = np.stack([p.found.keypoints for _, p in last])
                shown = np.stack([p.pose.keypoints for _, p in last])
                self._sums += (jitter(found, times_s), jitter(shown, times_s))
                self._count += 1

    @property
    def found(self) -> float:
        """px/s^2 before smoothing; 0 for fewer than three frames."""
        return float(self._sums[0] / max(self._count, 1))

    @property
    def smoothed(self) -> float:
        """px/s^2 after smoothing."""
        return float(self._sums[1] / max(self._count, 1))
