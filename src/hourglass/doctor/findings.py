"""What a check hands back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hourglass.doctor.people import DataSet

Numbers = Mapping[str, float | int | str | None]

LEVELS = ("ok", "note", "warning", "error")
"""From nothing to say to what keeps training from starting."""


@dataclass(frozen=True)
class Suspect:
    """A person or a picture to look at.

    Args:
        number: how bad it is, in the unit that the check's sentence tells; larger is worse.
        what: in words, such as "right knee 145 px outside".
        row: of the person in `DataSet`, or None when it is about a picture.
        photo: number of the picture in `DataSet`.
    """

    number: float
    what: str
    row: int | None
    photo: int


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        check: its short name, stable.
        level: one of `LEVELS`.
        count: how many were found.
        of: among how many.
        unit: of what: people, pictures, joints, coordinates, splits.
        sentence: what was found and by which threshold.
        suspects: the worst first.
        numbers: further measures, by stable names.
        brief: the same in a few words, where they tell more than the count.
    """

    check: str
    level: str
    count: int
    of: int
    unit: str
    sentence: str
    suspects: Sequence[Suspect] = ()
    numbers: Numbers = field(default_factory=dict)
    brief: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"the level {self.level!r} is not one of {', '.join(LEVELS)}")

    @property
    def share(self) -> float | None:
        """`count` over `of`, or None of nobody."""
        return self.count / self.of if self.of else None


WARN_SHARE, STOP_SHARE = 0.01, 0.2
"""Suspects are a note up to one in a hundred, a warning up to one in five, and an error beyond.

A few slips are in every data set. A fifth of all people is a mistake in the file or of whoever read it,
such as x and y exchanged or joints in another order.
"""

LEAK_SHARE = 0.001
"""Pictures in two splits are a warning up to one in a thousand, as in FLIC's own split, else an error."""


def level_of(count: int, of: int, warn: float = WARN_SHARE, stop: float = STOP_SHARE) -> str:
    """The level of `count` suspects among `of`; `warn` and `stop` are shares that must be exceeded."""
    if not count:
        return "ok"
    share = count / of
    return "error" if share > stop else "warning" if share > warn else "note"


def of_suspects(
    check: str,
    suspects: Sequence[Suspect],
    of: int,
    sentence: str,
    numbers: Numbers | None = None,
    warn: float = WARN_SHARE,
    stop: float = STOP_SHARE,
) -> Finding:
    """The finding of a check that suspects people, in the order given; its level as `level_of` has it."""
    count = len(suspects)
    level = level_of(count, of, warn, stop)
    return Finding(check, level, count, of, "people", sentence, suspects, numbers or {})


def worst_first(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """By number, and among equals in the order of the file."""
    return tuple(sorted(suspects, key=lambda s: -s.number))


def of_person(people: DataSet, row: int, number: float, what: str) -> Suspect:
    """A person as a suspect."""
    return Suspect(round(number, 4), what, row, int(people.photo[row]))


def rows_where(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Row numbers where a mask (N,) is True."""
    rows: list[int] = np.flatnonzero(mask).tolist()
    return rows
