"""Write a file, hold it to torch, and only then put it in its place."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hourglass.engines.engine import EngineError
from hourglass.export.parity import FP32, INT8, Parity, Progress, Tolerance, compare, misses
from hourglass.export.people import People
from hourglass.export.write import Crops, Say, Target, check_plain, check_target, write
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import load_network


class ParityError(ValueError):
    """An exported file that answers otherwise than torch does; it has been deleted.

    Args:
        parity: what was measured.
    """

    def __init__(self, message: str, parity: Parity) -> None:
        super().__init__(message)
        self.parity = parity


@dataclass(frozen=True)
class Exported:
    """Files that were written, the first of which is the one to name, and how they compare with torch."""

    files: tuple[Path, ...]
    parity: Parity


def export_file(
    network: nn.Module,
    facts: WeightFacts,
    to: Target,
    out: Path,
    people: People,
    *,
    calibration: Crops | None = None,
    decode_in_graph: bool = False,
    say: Say = lambda _: None,
    progress: Progress | None = None,
) -> Exported:
    """`write.write`, then `parity.compare` on people's crops; a file that fails is deleted.

    The file takes its name only after that, so one that stood there stays whole until then, and for good
    when the new one fails.

    Raises ParityError, with the numbers, for a file beyond the tolerance, else as `write` does.
    """
    check_target(to, out, calibration is not None)
    check_plain(network)
    if out.is_dir():
        raise OSError(f"cannot write {out}: it is a folder")
    limits = tolerance(calibration is not None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        path = Path(folder) / out.name
        write(network, facts, to, path, calibration=calibration, decode_in_graph=decode_in_graph, say=say)
        say(f"comparing it with torch on {len(people)} people")
        engine, _ = load_network(path)
        parity = compare(network, engine, facts, people, limits, progress)
        if to == "torch-export":
            _check_torch_alone(path, engine, people)
        wrong = misses(parity, limits)
        if wrong:
            raise ParityError(
                f"{out} is not kept, for it does not answer as torch does: {'; '.join(wrong)} "
                f"(on {len(people)} people of {people.source})",
                parity,
            )
        # OpenVINO's weights first: a reader finds the new pair or the old one, or is told they don't fit.
        parts = sorted(Path(folder).iterdir(), key=lambda part: part == path)
        for part in parts:
            os.replace(part, out.parent / part.name)
    return Exported(tuple(out.parent / part.name for part in reversed(parts)), parity)


def tolerance(int8: bool) -> Tolerance:
    """What is allowed to a file of this precision."""
    return INT8 if int8 else FP32


@torch.inference_mode()
def _check_torch_alone(path: Path, engine: nn.Module, people: People) -> None:
    """Raise EngineError unless torch's own loader, which we don't use, gives the same answers.

    It runs what is in a file; this one was written a moment ago, by us.
    """
    crops = torch.from_numpy(people.crops[:2]).permute(0, 3, 1, 2).contiguous()
    theirs = torch.export.load(path).module()(crops)
    ours = engine.answers(crops)  # type: ignore[operator]
    for name, answer in ours.items():
        if not torch.allclose(answer, theirs[name], rtol=1e-4, atol=1e-4):
            raise EngineError(f"torch.export.load answers with another {name} than the file holds")
