"""The people finder: a small stacked hourglass that answers where people are, and how large.

Its five maps per stage are, for each cell: the logit of a person's centre lying there; the way from the cell
to that centre, right and down, in shares of the person's width and height; and the logarithms of width and
height over 32 input pixels. `inference.detection.centers` turns them into boxes and `training.losses`
makes their targets. Source of the idea: Objects as Points (Zhou, Wang, Krahenbuhl 2019), whose strongest
network is an hourglass; that sizes are learnt around a centre and not only on it follows TTFNet (Liu et al.
2019).
"""

import math

import torch
from torch import nn

from hourglass.core.skeleton import Skeleton
from hourglass.models.stacked_hourglass import NO_MEAN, RGB, UNIT_STD, StackedHourglass

MAPS = ("centre", "right", "down", "log width", "log height")
"""What the maps of a stage are, in order."""

SKELETON = Skeleton("person_center", ("person",))
"""What a finder's weights say they find: its first map is that of a person's centre."""

_FIRST_SHARE = 0.01
"""What every cell says of a centre before training: most cells hold none."""


def people_finder(
    stacks: int = 2,
    features: int = 64,
    depth: int = 4,
    blocks: int = 1,
    mean: RGB = NO_MEAN,
    std: RGB = UNIT_STD,
) -> StackedHourglass:
    """A network ``(B, 3, H, W) -> [(B, 5, H / 4, W / 4)] * stacks``, 0.42 M parameters with two stacks of 64.

    Raises ValueError for numbers that make no network, as `StackedHourglass` does.
    """
    network = StackedHourglass(len(MAPS), stacks, features, depth, blocks, mean, std)
    network.output = "centers"
    for head in network.heads:
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        with torch.no_grad():
            # Otherwise the first steps are spent on driving all cells down.
            head.weight.mul_(0.1)
            head.bias.zero_()
            head.bias[0] = math.log(_FIRST_SHARE / (1 - _FIRST_SHARE))
    return network
