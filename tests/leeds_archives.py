"""Small LSP and LSPET folders for tests, out of one form of joints: (N, 14, 3) with x, y and the flag."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from hourglass.core.structs import PersonRecord
from hourglass.data.formats import lsp
from hourglass.data.formats.annotations import Annotations

Joints = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """One of the two, as its archive has it.

    Args:
        axes: where the array in the file has the axes of ours.
        sure: the flag of a joint that is labelled and visible.
    """

    name: str
    other: str
    axes: tuple[int, int, int]
    shape: str
    sure: float
    digits: int
    read: Callable[[Path], Annotations]
    load: Callable[..., list[PersonRecord]]

    def __str__(self) -> str:
        return self.name.lower()

    def photo(self, number: int) -> str:
        return "im" + str(number).zfill(self.digits) + ".jpg"

    def people(self, count: int) -> Joints:
        """Everybody alike: x from 11 to 50, y from 6 to 45, each joint labelled and visible."""
        joints = np.full((count, 14, 3), self.sure, np.float64)
        joints[:, :, 0] = np.linspace(11, 50, 14)
        joints[:, :, 1] = np.linspace(6, 45, 14)
        return joints

    def write(
        self, root: Path, joints: Any, photos: Iterable[int] | None = None, packed: bool = False
    ) -> Path:
        """A folder with `joints` and empty photos, numbered from 1; returns it."""
        self.write_joints(root, joints.transpose(self.axes), packed)
        self.touch(root, range(1, len(joints) + 1) if photos is None else photos)
        return root

    def write_joints(self, root: Path, array: Any, packed: bool = False) -> Path:
        """`joints.mat` with the array as it is, beside an empty folder of photos; returns the file."""
        (root / "images").mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(root / "joints.mat", {"joints": array}, do_compression=packed)
        return root / "joints.mat"

    def touch(self, root: Path, photos: Iterable[int]) -> None:
        (root / "images").mkdir(parents=True, exist_ok=True)
        for number in photos:
            (root / "images" / self.photo(number)).touch()


LSP = Kind("LSP", "LSPET", (2, 1, 0), "(3, 14, N)", 0, 4, lsp.read_lsp, lsp.load_lsp)
LSPET = Kind("LSPET", "LSP", (1, 2, 0), "(14, 3, N)", 1, 5, lsp.read_lspet, lsp.load_lspet)
BOTH = (LSP, LSPET)
