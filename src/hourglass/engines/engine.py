"""What the engines share: the error, the mark of our files, and how a network is made ready for one."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hourglass.models.folding import fold_batch_norms

FORMAT = "hourglass-engine-1"
"""Written into every engine file beside the weights' facts."""

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
        name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "nncf", "openvino")
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
