"""How large a network is, measured from the module itself."""

import torch
from torch import nn


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
