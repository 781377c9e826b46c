"""Batch-norm over the crops of all processes, for devices that torch's own SyncBatchNorm doesn't know.

Each process's share counts by its size, so that together they equal one `BatchNorm2d` over the whole
batch: answer, gradients and running statistics.
"""

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch-norm replaced by one over all processes; parameters and keys stay.

    On CUDA it is torch's `SyncBatchNorm`, elsewhere `RankBatchNorm2d`. It must come before the optimiser is
    made of the parameters, and before the network is wrapped.
    """
    if device.type == "cuda":
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return cast(nn.Module, converted)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, RankBatchNorm2d.like(child))
    return network


class RankBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose batch is that of all processes; with one process, or in evaluation, as usual."""

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> "RankBatchNorm2d":
        """One that takes over the parameters and statistics of `norm`.

        Raises ValueError where it keeps no statistics, has no parameters, or averages over all batches.
        """
        if not norm.affine or not norm.track_running_stats or norm.momentum is None:
            raise ValueError("only batch-norms with parameters, statistics and a momentum are synchronised")
        new = cls(norm.num_features, norm.eps, norm.momentum)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        return new.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not distributed.is_initialized() or distributed.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        answer, mean, var, count = _Synchronised.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        result: Tensor = answer
        return result


class _Synchronised(torch.autograd.Function):
    """(B, C, H, W) normalised by mean and variance (C,) over all processes; and those, and their count ()."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        var, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
        # In double precision, so that squares of large means leave the variance what it is.
        count = torch.tensor([x.numel() // channels], dtype=torch.float64, device=x.device)
        mean, var = mean.double(), var.double()
        together = torch.cat([count, count * mean, count * (var + mean**2)])
        distributed.all_reduce(together)
        count, sums, squares = together[:1], together[1 : channels + 1], together[channels + 1 :]
        mean = sums / count
        var = (squares / count - mean**2).clamp_min(0)
        mean32, var32, count32 = (t.to(weight.dtype) for t in (mean, var, count))
        ctx.save_for_backward(x, weight, mean32, (var + eps).rsqrt().to(weight.dtype), count)
        ctx.mark_non_differentiable(mean32, var32, count32)
        return F.batch_norm(x, mean32, var32, weight, bias, eps=eps), mean32, var32, count32

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape = (1, -1, 1, 1)
        upstream = _wide(grad)
        normal = (_wide(x) - mean.view(shape)) * inverse.view(shape)
        own_bias = upstream.sum((0, 2, 3))
        own_weight = (upstream * normal).sum((0, 2, 3))
        # What moves the shared mean and variance moves every process's answers.
        together = torch.cat([own_bias, own_weight]).double()
        distributed.all_reduce(together)
        every_bias, every_weight = (together / count).to(weight.dtype).chunk(2)
        inner = upstream - every_bias.view(shape) - normal * every_weight.view(shape)
        own = inner * (weight * inverse).view(shape)
        return own.to(x.dtype), own_weight.to(weight.dtype), own_bias.to(weight.dtype), None


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
