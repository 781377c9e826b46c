"""Files with flipped bits, cut off, or with a hole: read as they are or refused in a sentence."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from hourglass.data.formats.annotations import Annotations

Result = TypeVar("Result")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=8,
)
"""Whatever JSON can hold."""

PATIENCE_S = 30.0
"""No file takes longer, however it is damaged: thousands of times what these take."""


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A copy with one to four bits flipped, or cut off, or with a block of zeros."""
    content = bytearray(whole)
    kind = draw.randrange(6)
    if kind == 0:
        return bytes(content[: draw.randrange(len(content))])
    if kind == 1:
        start = draw.randrange(len(content))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
        return bytes(content)
    for _ in range(draw.randrange(1, 5)):
        # Half of the flips in the head, where a file says what it is.
        place = draw.randrange(min(len(content), 2000) if draw.random() < 0.5 else len(content))
        content[place] ^= 1 << draw.randrange(8)
    return bytes(content)


def misprinted(text: bytes, draw: random.Random) -> bytes:
    """A copy with one bit flipped in each of one to four digits, so that most copies are still JSON."""
    content = bytearray(text)
    digits = [place for place, letter in enumerate(content) if letter in b"0123456789"]
    for place in draw.sample(digits, draw.randrange(1, 5)):
        content[place] ^= 1 << draw.randrange(4)
    return bytes(content)


def or_refusal(read: Callable[[], Result], file: Path) -> Result | None:
    """What a reader returns, or None after a refusal that names the file."""
    began = time.monotonic()
    try:
        return read()
    except (ValueError, OSError) as error:
        complaint = str(error)
    finally:
        assert time.monotonic() - began < PATIENCE_S
    assert file.name in complaint
    return None


def check_whole(people: Annotations) -> None:
    """Nothing is missing and all that counts is finite."""
    count, joints = len(people), len(people.skeleton)
    assert people.keypoints.shape == (count, joints, 2)
    assert people.visibility.shape == (count, joints)
    assert set(np.unique(people.visibility).tolist()) <= {0, 1, 2}
    assert np.isfinite(people.keypoints[people.labelled]).all()
    assert people.center.shape == (count, 2)
    assert np.isfinite(people.center).all()
    assert np.isfinite(people.side_px).all()
    assert (people.side_px > 0).all()
    for length in people.lengths.values():
        assert length.shape == (count,)
        assert np.isfinite(length).all()
        assert (length > 0).all()
    assert (
        len(people.names) == len(people.where) == len(people.splits) == len(set(people.ids.tolist())) == count
    )
    assert all(isinstance(name, str) and name for name in people.names)


def refusals(
    read: Callable[[Path], Annotations],
    told: Callable[[Path], npt.ArrayLike],
    file: Path,
    whole: bytes,
    count: int,
    damage: Callable[[bytes, random.Random], bytes] = damaged,
    pack: Callable[[bytes], bytes] = bytes,
) -> int:
    """How many of so many damaged copies are refused; every other must be read as it is, to the last person.

    Args:
        told: the joints (N, J, 2) that a file holds, found in another way.
        file: where to write the copies.
        pack: what happens to a copy after it was damaged.
    """
    draw, refused = random.Random(file.name), 0
    for _ in range(count):
        file.write_bytes(pack(damage(whole, draw)))
        people = or_refusal(lambda: read(file), file)
        if people is None:
            refused += 1
            continue
        check_whole(people)
        np.testing.assert_array_equal(people.keypoints, told(file))
    return refused
