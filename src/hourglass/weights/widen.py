"""Weights of a narrow network for a wider one that answers the same (Net2WiderNet, Chen et al. 2016)."""

from collections.abc import Mapping

import torch
from torch import Tensor

SPREAD = 0.25
"""How unequally copies of a channel share its weights; copies with equal ones would stay equal for ever."""


def widen(narrow: Mapping[str, Tensor], wide: Mapping[str, Tensor], joints: int) -> dict[str, Tensor]:
    """Tensors in the shapes of `wide` that compute what `narrow` does.

    A new channel is a copy of an old one; whoever reads both gets shares of its weights that add up to the
    old one. Every layer with as many channels copies the same ones, so that sums of branches still fit.

    Args:
        narrow: tensors by name; axes as long as `joints` stay as they are.
        wide: tensors of the same names; only their shapes are used.

    Raises ValueError where a tensor is missing, has other axes, or would become narrower.
    """
    if narrow.keys() != wide.keys():
        raise ValueError("the two networks have other layers")
    sources: dict[tuple[int, int], Tensor] = {}

    def copied(old: int, new: int) -> Tensor:
        """(new,) which old channel each new one copies."""
        if new < old:
            raise ValueError(f"{new} channels are fewer than {old}")
        if (old, new) not in sources:
            extra = torch.randperm(old).repeat(-(-new // old))[: new - old]
            sources[old, new] = torch.cat([torch.arange(old), extra])
        return sources[old, new]

    made = {}
    for name, tensor in narrow.items():
        shape = wide[name].shape
        if tensor.ndim != len(shape) or tensor.shape[2:] != shape[2:]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the wider network's {tuple(shape)}")
        out = tensor
        if tensor.ndim and tensor.shape[0] not in (joints, shape[0]):
            out = out[copied(tensor.shape[0], shape[0])]
        if tensor.ndim > 1 and tensor.shape[1] not in (joints, shape[1]):
            rows = copied(tensor.shape[1], shape[1])
            share = 1 + SPREAD * torch.randn(out.shape[0], len(rows), *out.shape[2:])
            whole = torch.zeros(out.shape).index_add_(1, rows, share)
            out = out[:, rows] * share / whole[:, rows]
        made[name] = out.clone()
    return made
