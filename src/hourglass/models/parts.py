"""What a network is made of, measured by running it once; on torch's meta device that costs no memory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MANY = 4
"""Runs of equally shaped members up to which `parts` tells them apart."""


@dataclass(frozen=True)
class NetworkPart:
    """One part of a network, or several equal ones in a row."""

    name: str
    count: int
    parameters: int
    """Of all `count` together."""
    output: tuple[int, ...] | None
    """Shape of what comes out for one crop, without the batch; None where the equal parts' shapes differ."""


class ShapesOnly(TorchFunctionMode):
    """While it is entered, networks on the meta device run quickly, and `flops` counts what they would cost.

    Batch-norms and ReLUs hand their input on: they change no shape and count no FLOP, but take most of the
    time there. Counted are convolutions, transposed ones and fully connected layers, two FLOPs for a
    multiply-add; it is `size.forward_flops`, several times as fast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (F.batch_norm, F.relu):
            return args[0]
        out = func(*args, **(kwargs or {}))
        if func in (F.conv2d, F.linear):
            self.flops += 2 * out.numel() * args[1][0].numel()
        elif func is F.conv_transpose2d:
            self.flops += 2 * args[0].numel() * args[1][0].numel()
        return out


def parts(network: nn.Module, input_px: int) -> list[NetworkPart]:
    """What a network is made of, from top to bottom, in the order of its definition.

    Lists of modules are opened; neighbours in them whose outputs have one shape become one line, or all of
    them where that would be more than `MANY` lines. What has no parameters is left out. The network is run
    once, on its own device; on `meta` nothing is computed.
    """
    members = {
        name: list(child.named_children())
        if isinstance(child, nn.ModuleList | nn.ModuleDict)
        else [("", child)]
        for name, child in network.named_children()
    }
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _: Any, out: Any) -> None:
        shapes.setdefault(module, tuple(_last(out).shape[1:]))

    handles = [m.register_forward_hook(note) for group in members.values() for _, m in group]
    device = next(network.parameters()).device
    with torch.no_grad(), ShapesOnly():
        network.eval()(torch.zeros(1, 3, input_px, input_px, device=device))
    for handle in handles:
        handle.remove()
    lines: list[NetworkPart] = []
    for name, group in members.items():
        rows = [NetworkPart(name, 1, trainable_parameters(m), shapes.get(m)) for _, m in group]
        lines += _join([row for row in rows if row.parameters])
    return lines


def _last(out: Any) -> Tensor:
    """The tensor that a part returns, or the last one in its list or mapping."""
    while not isinstance(out, Tensor):
        out = list(out.values() if isinstance(out, dict) else out)[-1]
    return out


def _join(rows: list[NetworkPart]) -> list[NetworkPart]:
    runs = [list(run) for _, run in groupby(rows, lambda row: row.output)]
    if len(runs) > MANY:
        runs = [rows]
    joined, done = [], 0
    for run in runs:
        name = run[0].name
        if len(runs) > 1:
            name += f" {done + 1}" if len(run) == 1 else f" {done + 1} to {done + len(run)}"
        same = run[0].output if all(row.output == run[0].output for row in run) else None
        joined.append(NetworkPart(name, len(run), sum(row.parameters for row in run), same))
        done += len(run)
    return joined


def trainable_parameters(network: nn.Module) -> int:
    """Numbers that training moves."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def forward_flops(network: nn.Module, input_px: int) -> int:
    """FLOPs of one square image through a network in evaluation mode (a multiply-add counts as two).

    Works on the network's own device; on `meta` nothing is computed.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, input_px, input_px, device=device))
    return int(counter.get_total_flops())
