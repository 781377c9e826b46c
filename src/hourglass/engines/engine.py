"""What the engines share: how a network is made ready for one, and which crops it takes."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

import torch
from torch import Tensor, nn

from hourglass.engines.entry import EngineError, Signature
from hourglass.models.folding import fold_batch_norms

FEWEST_CROPS = 16
"""Below so many the ranges of int8 would be those of a few people."""

log = logging.getLogger(__name__)


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
