"""The joints of a video: a line of JSON for each frame, appended as frames are done, and the same as CSV."""

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hourglass.core.files import write_atomically
from hourglass.inference.poses.csv_table import joint_cells, joint_columns
from hourglass.inference.poses.pose import Pose


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one frame.

    Args:
        number: the same from frame to frame; people are numbered as their boxes were given.
        found: the joints as the network found them, with every number as the file holds it.
        moved: the joints are not where they were followed to: a search of its own found them, so a smoothing
            starts anew.
        keypoints: (J, 2) smoothed, or None.
    """

    number: int
    found: Pose
    moved: bool = False
    keypoints: npt.NDArray[np.float32] | None = None

    @property
    def pose(self) -> Pose:
        """With the smoothed joints where there are any."""
        return self.found if self.keypoints is None else replace(self.found, keypoints=self.keypoints)


@dataclass(frozen=True, eq=False)
class Record:
    """What is known of one frame: its people, or why it is broken."""

    frame: int
    time_s: float
    people: tuple[Person, ...] = ()
    error: str = ""


def as_written(pose: Pose) -> Pose:
    """A pose with the digits it has in a file, so that a resumed run continues with the same numbers."""
    return Pose.from_dict(pose.to_dict())


def to_line(record: Record, run: str) -> str:
    """A record as one line of JSON without its line end; `run` names the settings it was made with."""
    row: dict[str, Any] = {"frame": record.frame, "time_s": round(record.time_s, 6), "run": run}
    if record.error:
        row["error"] = record.error
    row["people"] = [_person_row(person) for person in record.people]
    return json.dumps(row, allow_nan=False, ensure_ascii=False)


def _person_row(person: Person) -> dict[str, Any]:
    row = {"person": person.number, **({"moved": True} if person.moved else {}), **person.pose.to_dict()}
    del row["image_id"]
    if person.keypoints is not None:
        found = person.found.to_dict()["joints"]
        for name, joint in row["joints"].items():
            joint["found_x"], joint["found_y"] = found[name]["x"], found[name]["y"]
    return row


def from_line(line: str) -> tuple[Record, str]:
    """The inverse of `to_line`: the record and its run; raises ValueError saying what is malformed."""
    row = json.loads(line)
    try:
        people = tuple(_person(raw) for raw in row["people"])
        return Record(int(row["frame"]), float(row["time_s"]), people, str(row.get("error", ""))), str(
            row["run"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no line of joints: {error} is missing or malformed") from error


def _person(raw: dict[str, Any]) -> Person:
    pose = Pose.from_dict(raw)
    moved, number = bool(raw.get("moved", False)), int(raw["person"])
    joints = [raw["joints"][name] for name in pose.skeleton.joints]
    if not any("found_x" in joint for joint in joints):
        return Person(number, pose, moved)
    found = np.array([(joint["found_x"], joint["found_y"]) for joint in joints], np.float32)
    return Person(number, replace(pose, keypoints=found), moved, pose.keypoints)


def read_records(path: Path) -> Iterator[tuple[Record, str]]:
    """Records and their runs, line by line; raises ValueError naming file and line that is malformed."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield from_line(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error


class Journal:
    """The file of joints while it grows: whole lines only, handed to the system when `add` returns.

    A new file replaces an old one. With `resume` what is there stays, a half last line goes, and `known`
    holds the records by frame.

    Raises ValueError when the file can't be continued: it was begun with other settings (`run`), or a line in
    it is malformed; OSError naming the file when it can't be written.
    """

    def __init__(self, path: Path, run: str, resume: bool) -> None:
        self.path, self.run = path, run
        self.known: dict[int, Record] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            _cut_half_line(path)
            for record, begun in read_records(path):
                if begun != run:
                    raise ValueError(
                        f"{path} was begun as [{begun}] and can't be continued as [{run}]: give the same "
                        "options, or leave out --resume to begin anew"
                    )
                self.known[record.frame] = record
        self._file: IO[str] = open(path, "a" if resume else "w", encoding="utf-8", newline="\n")  # noqa: SIM115

    @property
    def last(self) -> int | None:
        """The last frame that is in the file, or None."""
        return max(self.known, default=None)

    def add(self, record: Record) -> str:
        """Append a record and return its line."""
        line = to_line(record, self.run)
        self._file.write(line + "\n")
        self._file.flush()
        return line

    def close(self) -> None:
        """Close the file; what was added stays."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _cut_half_line(path: Path) -> None:
    """Take away what follows the last line end: a killed process may have written half a line."""
    with open(path, "r+b") as file:
        size = file.seek(0, io.SEEK_END)
        end = size
        while end > 0:
            begin = max(end - 65536, 0)
            file.seek(begin)
            at = file.read(end - begin).rfind(b"\n")
            if at >= 0:
                end = begin + at + 1
                break
            end = begin
        if end < size:
            file.truncate(end)


def write_csv(journal: Path, path: Path) -> None:
    """A file of joints as a long table, one row for each joint of each person and frame, atomically.

    The columns are those of `interchange.table`, with `frame` and `time_s` for `image`, and without boxes.
    """
    # One network found everybody, so that the first person has what the others have.
    first = next((person.pose for record, _ in read_records(journal) for person in record.people), None)
    columns = joint_columns([first] if first is not None else [])

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["frame", "time_s", "person", *columns])
            for record, _ in read_records(journal):
                for person in record.people:
                    for cells in joint_cells(person.pose):
                        joint = [cells[column] for column in columns]
                        table.writerow([record.frame, round(record.time_s, 6), person.number, *joint])

    write_atomically(path, write)
