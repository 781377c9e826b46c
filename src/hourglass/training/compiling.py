"""torch.compile for the parts of an hourglass network, and the way back where it can't compile."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hourglass.core.files import reason

log = logging.getLogger(__name__)

_VARIANTS = 4
"""Of one part: with and without running statistics, forward in training and in evaluation."""


def parts_of(network: nn.Module) -> list[nn.Module]:
    """What is compiled as one piece each: hourglasses, necks and so on; no part lies inside another.

    The parts rather than the whole: equal ones share their machine code, gradients leave for other processes
    part by part, and checkpointing fits between. Single convolutions and arithmetic stay as they are.
    """
    parts = []
    for child in network.children():
        for part in child if isinstance(child, nn.ModuleList) else [child]:
            if sum(isinstance(m, nn.Conv2d) for m in part.modules()) > 1:
                parts.append(part)
    return parts


def compile_parts(network: nn.Module, cuda_graphs: bool = False) -> None:
    """Let each part be compiled when it first runs; nothing is computed here, and weights keep their names.

    Args:
        cuda_graphs: replay each part as one recorded graph (CUDA only).
    """
    config: Any = torch._dynamo.config
    parts = parts_of(network)
    config.recompile_limit = max(config.recompile_limit, _VARIANTS * len(parts))
    mode = "reduce-overhead" if cuda_graphs else None
    for part in parts:
        part.forward = torch.compile(part.forward, mode=mode, dynamic=False)


def undo(network: nn.Module) -> None:
    """Let every part run as written again."""
    for part in parts_of(network):
        part.__dict__.pop("forward", None)


def try_out(network: nn.Module, image: Tensor, precision: torch.dtype) -> Exception | None:
    """Run a compiled network forwards and backwards once, as training will, and say what went wrong, if so.

    Compilers fail when a part first runs, so this is where it shows. The network keeps its statistics and
    has no gradients afterwards.

    Args:
        network: on its device, in training mode.
        image: (B, 3, H, W) uint8 of the shape and memory layout that training gives it.
        precision: float32 or bfloat16, of the network.
    """
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        # The tracer looks at attributes of every tensor it meets, and torch warns of some.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                stages = network(image)
            total = torch.stack([stage.float().mean() for stage in stages]).sum()
            total.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # a compiler meets any machine and raises what it likes
        return error
    finally:
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
        network.zero_grad(set_to_none=True)
    return None


def try_compile(
    network: nn.Module,
    image: Tensor,
    precision: torch.dtype,
    cuda_graphs: bool,
    everywhere: Callable[[bool], bool],
    say: Callable[[str], None] = log.warning,
) -> bool:
    """Compile the network's parts, or leave them as they are and say why in one line.

    Args:
        network, image, precision: as in `try_out`.
        cuda_graphs: asked for; off CUDA the parts are compiled without, and that is said.
        everywhere: whether something holds on every process, given whether it holds on this one: they all
            compile, or none does.

    Returns whether they are compiled.
    """
    graphs = cuda_graphs and image.device.type == "cuda"
    if cuda_graphs and not graphs:
        say(f"train.cuda_graphs: there are none on {image.device.type}; compiling without")
    error: Exception | None
    try:
        compile_parts(network, graphs)
        error = try_out(network, image, precision)
    except Exception as failed:  # the compiler could not even be loaded
        error = failed
    if everywhere(error is None):
        return True
    undo(network)
    why = "another process couldn't" if error is None else reason(error, first_line=True)
    say(f"train.compile: training goes on without, since compiling failed: {why}")
    return False
