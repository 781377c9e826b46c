"""Smoothing while a video runs: records in, the same with smoothed joints out, as late as it takes."""

from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from hourglass.inference.video.joints_log import Person, Record
from hourglass.inference.video.smooth import (
    OneEuro,
    OneEuroState,
    SavitzkyGolay,
    Smoothing,
    jitter,
    local_fit,
)

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
