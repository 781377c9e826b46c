"""Group-norms in the place of batch-norms: the same answer for a crop whatever batch it is in."""

import math

from torch import nn

GROUPS = 32
"""Of every layer of 64 features and more, as Wu and He 2018 have it; fewer where there are fewer features."""


def groups_of(features: int) -> int:
    """How many groups a layer's features are split into: up to 32, of two features or more each."""
    return math.gcd(GROUPS, features // 2) if features % 2 == 0 else 1


def with_group_norms(network: nn.Module) -> nn.Module:
    """The network with a group-norm in the place of each batch-norm; no statistics are kept.

    Source: Wu and He 2018 (arXiv 1803.08494), and `hourglass_gn` of bearpaw/pytorch-pose, which has 32 groups
    in the same places; its layers have 64 features and more, where this is the same.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(groups_of(child.num_features), child.num_features))
    return network
