"""Writer of `joints.mat`: LSP's (3, 14, N) flags hidden joints, LSPET's (14, 3, N) labelled ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import NOT_LABELLED, OCCLUDED
from hourglass.data.formats import lsp, lspet
from hourglass.data.formats.annotations import Annotations
from hourglass.data.writers.shared import Losses, lose_hidden, lose_untold, prepared, put


def write_joints(
    people: Annotations, file: Path, form: str, force: bool = False, losses: Losses | None = None
) -> Annotations:
    """A `joints.mat` of the people that are given back; person n belongs to picture n, which it doesn't name.

    Args:
        form: `lsp` or `lspet`.
        losses: collects what the form can't hold; without it, losing people or joints is an error.

    Raises ValueError when the people don't fit the form, and as `shared.put` does.
    """
    from scipy.io import savemat

    losses = losses or Losses()
    people = prepared(people, form, LSP14, 1, losses)
    if form == "lsp":
        bare = np.asarray(~people.labelled.all(axis=1))
        if bare.any():
            losses.refuse(
                people,
                "people with an unlabelled joint, while LSP's form has all 14 of everybody (LSPET's, "
                f"--to lspet, tells which are labelled): {int(bare.sum())} of {len(people)}",
            )
            people = people.take(~bare)
        if not len(people):
            raise ValueError(f"{people.file} has nobody with all 14 joints labelled")
        lose_untold(people, losses)
        flags, archive = people.visibility == OCCLUDED, lsp.ARCHIVE
    else:
        lose_hidden(people, losses)
        flags, archive = people.visibility > NOT_LABELLED, lspet.ARCHIVE
    most = max(last for _, last in archive.splits.values())
    if len(people) > most:
        more = f"{len(people) - most} of {len(people)}"
        losses.refuse(people, f"people beyond the {most} that {archive.name} can have: {more}")
        people, flags = people.take(range(most)), flags[:most]
    _lose_names(people, archive.photo_name, losses)
    if people.form not in ("lsp", "lspet"):
        losses.note("crops have no place in this form: its readers make them of the joints")
    joints = np.concatenate([people.keypoints, flags[..., None]], axis=2)
    array = joints.transpose(2, 1, 0) if form == "lsp" else joints.transpose(1, 2, 0)

    def write(part: Path) -> None:
        savemat(part, {"joints": array}, appendmat=False, do_compression=True)

    put(file, write, force)
    return people


def _lose_names(people: Annotations, photo: Callable[[int], str], losses: Losses) -> None:
    count = len(people)
    renamed = [n for n in range(count) if people.names[n] != photo(n + 1)]
    if renamed:
        first = renamed[0]
        losses.note(
            f"names of pictures have no place in this form: rename {len(renamed)} of them, "
            f"{people.names[first]} to {photo(first + 1)} and so on by row (--json lists them)"
        )
        losses.rows = list(people.names)
    elif not np.array_equal(people.ids, np.arange(1, count + 1)):
        losses.note("ids have no place in this form: its readers number the rows from 1")
