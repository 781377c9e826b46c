"""Batch-norms that follow a convolution, folded into it: fewer passes over memory, the same answer."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise

import torch
from torch import nn

from hourglass.models.cornernet_hourglass import BasicResidual
from hourglass.models.layers import PreActResidual


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode whose convolutions do the work of the batch-norms after them.

    Only a batch-norm whose input is a convolution's output and nothing else goes: two of the three in a
    pre-activation residual. Scales are merged in float64, so that float32 answers differ by rounding alone.

    Raises ValueError when the network is in training mode, where a batch-norm isn't a fixed scale.
    """
    if network.training:
        raise ValueError("batch-norms can only be folded in evaluation mode: call network.eval() first")
    folded = deepcopy(network)
    for parent, name, conv, norm in list(_pairs(folded)):
        if isinstance(norm, nn.BatchNorm2d):  # else it has been folded before
            _fold(conv, norm)
            setattr(parent, name, nn.Identity())
    return folded


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d, nn.Module]]:
    """Every (parent and name of the batch-norm, convolution before it, batch-norm)."""
    inner: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, PreActResidual):
            yield module, "bn2", module.conv1, module.bn2
            yield module, "bn3", module.conv2, module.bn3
        elif isinstance(module, BasicResidual):
            yield module, "bn1", module.conv1, module.bn1
            yield module, "bn2", module.conv2, module.bn2
        elif isinstance(module, nn.Sequential) and module not in inner:
            chain = list(_chain(module))
            inner |= {parent for parent, _, _ in chain}
            for (_, _, before), (parent, name, after) in pairwise(chain):
                if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                    yield parent, name, before, after


def _chain(sequence: nn.Sequential) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """What a sequence runs one after another, sequences inside it spread out."""
    for name, part in sequence.named_children():
        if isinstance(part, nn.Sequential):
            yield from _chain(part)
        else:
            yield sequence, name, part


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift * norm.weight.double() + norm.bias.double()
        scale = scale * norm.weight.double()
    if conv.bias is None:
        conv.bias = nn.Parameter(torch.zeros_like(conv.weight[:, 0, 0, 0]), requires_grad=False)
    conv.bias.copy_(conv.bias.double() * scale + shift)
    conv.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
