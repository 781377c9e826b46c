"""Left and right, told from the names that people give to joints."""

import re
from collections.abc import Iterator, Sequence

_WORDS = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))

# Where one letter stands for the side, the surest place first. Each pattern matches the letter alone.
_LETTERS = tuple(
    re.compile(pattern)
    for pattern in (
        # A token by itself: l_foot, foot_l, shoulder.L, L Foot, L_F_Paw, eye-l, Foot (L).
        r"(?<![A-Za-z])[lL](?![A-Za-z])",
        # In camel case: LFoot, LF_paw, pawLH; footL, eyeL.
        r"(?<![A-Z])L(?=[A-Z])",
        r"(?<=[a-z0-9])L(?![A-Za-z])",
        # Beside front, hind, back, middle or rear: lf_paw, LH; paw_fl, HL, pawFL.
        r"(?<![A-Za-z])[lL](?=[fhbmrFHBMR](?![A-Za-z]))",
        r"(?:(?<=[^A-Za-z][fhbmrFHBMR])|(?<=^[fhbmrFHBMR])|(?<=[a-z0-9][FHBMR]))[lL](?![A-Za-z])",
        # In front or at the end of a word without a mark between: lshoulder, footl.
        r"^l(?=[a-z]{2})",
        r"(?<=[a-z]{2})l$",
    )
)


def left_right_pairs(joints: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(left, right) names that differ only in their side, in the order of `joints`.

    Told are the words left and right anywhere in a name, and the letters l and r in places where people put
    them (`_LETTERS`). Both names must be there, so that a lone `tail` or `leg` means nothing. No joint is in
    two pairs: where a name could belong to several, the surer way of writing it counts.
    """
    known: set[str] = set(joints)
    found: dict[str, str] = {}
    taken: set[str] = set()
    for pattern in (None, *_LETTERS):
        for joint in joints:
            for other in _substitutes(joint, pattern):
                if other in known and not {joint, other} & taken:
                    found[joint] = other
                    taken |= {joint, other}
    return tuple((joint, found[joint]) for joint in joints if joint in found)


def _substitutes(joint: str, pattern: re.Pattern[str] | None) -> Iterator[str]:
    """The name with left made right: the words, or one letter wherever the pattern finds it."""
    if pattern is None:
        yield from (joint.replace(left, right) for left, right in _WORDS if left in joint)
        return
    for match in pattern.finditer(joint):
        yield joint[: match.start()] + ("r" if match.group() == "l" else "R") + joint[match.end() :]
