"""What the engines share: the error, the mark of our files, and how a network is made ready for one."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hourglass.models.folding import fold_batch_norms

FORMAT = "hourglass-engine-1"
"""Written into every engine file beside the weights' facts."""

ENTRY = "hourglass"
"""The entry that holds it, and the facts as JSON, in a file's metadata."""

FEWEST_CROPS = 16
"""Below so many the ranges of int8 would be those of a few people."""

log = logging.getLogger(__name__)


class EngineError(ValueError):
    """An engine that can't be had or a file that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Signature:
    """What an engine's file says of its network beyond the weights' facts.

    Args:
        input_px: side of the crop; no other fits.
        output: what the network answers with, as its module says.
        precision: `fp32` or `int8`, what the numbers in the file are.
    """

    input_px: int
    output: str
    precision: str


def said(facts: str, signature: Signature) -> str:
    """The text of an engine file's entry: our format, the facts (JSON) and the signature."""
    return json.dumps({"format": FORMAT, "facts": facts, **asdict(signature)})


def signature_of(text: str, path: Path) -> tuple[str, Signature]:
    """Facts (JSON) and signature out of what `said` gave; raises EngineError naming the file."""
    try:
        raw = json.loads(text)
        written = raw.pop("format")
        facts = str(raw.pop("facts"))
        if written == FORMAT:
            return facts, Signature(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error
    raise EngineError(f"{path} is an engine of the format {written!r}; this version reads {FORMAT!r}")


def check_crops(image: Tensor, signature: Signature, anywhere: bool = False) -> None:
    """Raise EngineError unless the crops are what an engine of this signature takes.

    `anywhere` allows other devices than the CPU.
    """
    side = signature.input_px
    there = anywhere or image.device.type == "cpu"
    if image.dtype != torch.uint8 or not there or image.shape[1:] != (3, side, side):
        raise EngineError(
            f"this engine takes uint8 crops of 3 x {side} x {side}{'' if anywhere else ' on the CPU'}, not "
            f"{image.dtype} of {tuple(image.shape[1:])} on {image.device.type}; export one for this size"
        )


def stage_names(network: nn.Module, input_px: int) -> tuple[str, ...]:
    """`stage_1`, `stage_2` ..., one for each answer that a network gives."""
    with torch.inference_mode():
        answers = len(network(example(input_px)))
    return tuple(f"stage_{i + 1}" for i in range(answers))


def stages_of(answers: Mapping[str, Tensor]) -> list[Tensor]:
    """The stages among an engine's named answers; a file may give decoded joints before them."""
    return [answer for name, answer in answers.items() if name.startswith("stage_")]


def check_calibration(crops: int) -> None:
    """Raise EngineError for too few crops to measure int8's ranges on."""
    if crops < FEWEST_CROPS:
        raise EngineError(
            f"int8 needs crops of at least {FEWEST_CROPS} people to measure its ranges on, not {crops}; "
            "a few hundred are better"
        )


def example(input_px: int) -> Tensor:
    """One crop (1, 3, S, S) uint8 to trace a network with."""
    return torch.zeros(1, 3, input_px, input_px, dtype=torch.uint8)


def ready(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU, its batch-norms folded and all in the usual layout."""
    folded: nn.Module = fold_batch_norms(network.eval()).cpu().float()
    return folded.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' remarks from the user, and their progress bars out of standard output."""
    levels = {
        name: logging.getLogger(name).level
        for name in ("torch.onnx", "onnxscript", "onnx_ir", "nncf", "openvino")
    }
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
