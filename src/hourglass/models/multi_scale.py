"""Multi-scale stacked hourglass (MSSH): early stages look at small maps, late ones at large maps.

A pre-processing network makes feature maps of 8, 4 and 2 input pixels per cell and dispatches them
to the stages. The text of the paper leaves its figures' details open; what is ours is said where it
is. The paper's adaptive loss weights are in `training.losses`: a network never sees a loss.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import PreActResidual, conv_bn_relu
from hourglass.models.stacked_hourglass import Normalise, Stages, check_input_size, remaining_rows


class InceptionResidualA(nn.Module):
    """Two branches, joined, on top of the input: ``(B, in_features, H, W) -> (B, out_features, H, W)``.

    With o = `out_features`, and each step a BN-ReLU-convolution with a batch-norm of its own::

        wide   1x1 -> o/2
        deep   1x1 -> o/4, 3x3 -> o/4, 3x3 -> o/2
        y    = skip(x) + 1x1(concat[wide(x), deep(x)])

    `skip` is the raw input, through a bare 1x1 convolution where the width changes; the joining
    convolution is bare too, and nothing follows the sum.

    Raises ValueError when `out_features` is no positive multiple of 4.
    Source: MSSH (ICLR 2019 submission), figure 4(a). Its text gives no widths; those here are ours.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if out_features < 4 or out_features % 4:
            raise ValueError(f"out_features must be a positive multiple of 4, not {out_features}")
        half, quarter = out_features // 2, out_features // 4
        self.wide = _bn_relu_conv(in_features, half)
        self.deep = nn.Sequential(
            _bn_relu_conv(in_features, quarter),
            _bn_relu_conv(quarter, quarter, 3),
            _bn_relu_conv(quarter, half, 3),
        )
        self.join = nn.Conv2d(out_features, out_features, 1)
        self.skip: nn.Module = (
            nn.Identity() if in_features == out_features else nn.Conv2d(in_features, out_features, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.join(torch.cat([self.wide(x), self._second_branch(x)], 1))
        skip: Tensor = self.skip(x)
        return y + skip

    def _second_branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.deep(x)
        return y


class InceptionResidualB(InceptionResidualA):
    """`InceptionResidualA` whose second branch works at half the resolution, as in figure 4(b).

    2x2 max-pooling comes before the branch and nearest-neighbour upsampling after it. Any map will do
    (ours): windows over an odd map's last row and column hold what is there, and the upsampled map is
    cut back to the input's size. A 1x1 map is therefore its own pooled map, and B equals A on it.
    """

    def _second_branch(self, x: Tensor) -> Tensor:
        low: Tensor = self.deep(F.max_pool2d(x, 2, ceil_mode=True))
        y = F.interpolate(low, scale_factor=2.0, mode="nearest")
        return y[..., : x.shape[-2], : x.shape[-1]]


SCALES = (8, 4, 2)
"""Input pixels per cell that a stage may have, small maps first: 32, 64 and 128 cells of 256 px."""

UNITS: dict[str, Callable[[int, int], nn.Module]] = {
    "inception_a": InceptionResidualA,
    "inception_b": InceptionResidualB,
    "residual": PreActResidual,
}
"""Building blocks by name; each takes (in_features, out_features)."""

FUSIONS = ("add", "concat")
DISPATCHES = ("every", "first")


def default_strides(stages: int) -> tuple[int, ...]:
    """Share `stages` out over the strides 8, 4, 2: (8, 8, 8, 4, 4, 4, 2, 2) for 8.

    Each scale gets a third; what doesn't divide goes to the small maps first, where a stage is cheap
    (ours). So 1 gives (8,), 2 gives (8, 4), and only 3 stages or more reach stride 2.

    Raises ValueError for fewer than one stage.
    """
    if stages < 1:
        raise ValueError(f"stages must be at least 1, not {stages}")
    share, left = divmod(stages, len(SCALES))
    return tuple(scale for i, scale in enumerate(SCALES) for _ in range(share + (i < left)))


def _check(joints: int, strides: Sequence[int], features: int, depth: int) -> None:
    for name, value in (("joints", joints), ("depth", depth)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if features < 8 or features % 8:
        raise ValueError(f"features must be a positive multiple of 8, not {features}")
    table = list(strides)
    if not table or any(stride not in SCALES for stride in table):
        raise ValueError(f"strides must name 2, 4 or 8 for each stage, at least one, not {table}")
    if any(after > before for before, after in pairwise(table)):
        raise ValueError(f"strides must not grow from a stage to the next (maps never shrink), not {table}")
    if depth < 2 and max(table) == 8:
        raise ValueError(
            f"depth must be at least 2 where strides hold 8, whose hourglasses pool depth - 1 times, "
            f"not {depth}"
        )


def _choose(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


class _Hourglass(nn.Module):
    """Newell's hourglass ``(B, C, H, W) -> (B, C, H, W)`` with one unit of any kind at each position."""

    def __init__(self, depth: int, features: int, unit: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.up = unit(features, features)
        self.before = unit(features, features)
        self.inner = _Hourglass(depth - 1, features, unit) if depth > 1 else unit(features, features)
        self.after = unit(features, features)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


def _start(features: int, unit: Callable[[int, int], nn.Module]) -> nn.Sequential:
    """To stride 2 and half the width, as Newell's stem begins."""
    return nn.Sequential(
        conv_bn_relu(3, features // 4, kernel=7, stride=2), unit(features // 4, features // 2)
    )


class SeparateBranches(nn.Module):
    """The preferred pre-processing network, figure 3: a branch of its own depth for each scale.

    ``(B, 3, H, W)`` to ``{stride: (B, features, H / stride, W / stride)}`` for the strides that are
    used; no other branch exists. The branch of stride 4 together with the start is Newell's stem.
    """

    def __init__(self, used: set[int], features: int, unit: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        half = features // 2
        self.start = _start(features, unit)
        self.branches = nn.ModuleDict()
        for stride in (scale for scale in SCALES if scale in used):
            path: list[nn.Module] = [nn.MaxPool2d(2), unit(half, half)] if stride == 8 else []
            path += [nn.MaxPool2d(2)] if stride >= 4 else []
            self.branches[str(stride)] = nn.Sequential(*path, unit(half, half), unit(half, features))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = self.start(image)
        return {int(stride): branch(x) for stride, branch in self.branches.items()}


class LateralPyramid(nn.Module):
    """The variant with horizontal connections, figure 5: one path down, and a merge back up.

    Shapes as in `SeparateBranches`. The path runs from stride 2 to the largest stride that is used,
    with two units at each; then each map, through a 1x1 convolution, is added to the merged map of the
    stride above it, brought up by nearest neighbour. Merging stops at the smallest stride in use.
    """

    def __init__(self, used: set[int], features: int, unit: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.start = _start(features, unit)
        half = features // 2
        self.path = nn.ModuleDict({"2": nn.Sequential(unit(half, half), unit(half, features))})
        for stride in (4, 8):
            if stride <= max(used):
                self.path[str(stride)] = nn.Sequential(
                    nn.MaxPool2d(2), unit(features, features), unit(features, features)
                )
        self.laterals = nn.ModuleDict(
            {str(s): nn.Conv2d(features, features, 1) for s in SCALES if min(used) <= s <= max(used)}
        )

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = self.start(image)
        down: dict[str, Tensor] = {}
        for stride, units in self.path.items():
            x = down[stride] = units(x)
        merged: dict[int, Tensor] = {}
        for stride, lateral in self.laterals.items():
            y = lateral(down[stride])
            if merged:
                y = y + F.interpolate(merged[2 * int(stride)], scale_factor=2.0, mode="nearest")
            merged[int(stride)] = y
        return merged


class MultiScaleStackedHourglass(nn.Module):
    """Hourglasses on growing maps, each fed by the stage before it and by a dispatched feature map.

    ``(B, 3, H, W)`` to one ``(B, J, H / strides[j], W / strides[j])`` for each stage j. Sides must be
    multiples of 4 * 2^depth. With x the input of stage j and y its features after the neck, the input
    of the next stage is fuse(up(x + 1x1(y) + 1x1(heatmaps)), map of the next stage's scale), where
    `up` is nearest neighbour to that scale. (Upsampling each term before its 1x1 convolution gives the
    same: the two commute. Upsampling the sum costs a quarter.)

    Args:
        joints: heatmaps per stage, J.
        strides: input pixels per heatmap cell of each stage, from 8, 4 and 2 and never growing; its
            length is the number of stages, each supervised. `stride` is the last one.
        features: width of everything after the pre-processing network; a multiple of 8.
        depth: poolings in an hourglass at stride 4. One less at stride 8 and one more at stride 2, so
            that every bottom has the same few cells (4 x 4 of 256 px with 4); ours.
        unit: "inception_a" (preferred), "inception_b" or "residual": all residual units, those of the
            pre-processing network included.
        lateral: horizontal connections in the pre-processing network (worse in the paper).
        fusion: "add" (preferred), or "concat" and a 1x1 convolution back to `features`.
        dispatch: "every" stage gets the map of its scale, as the paper says, so that stages of one
            scale get the same map again. "first" (ours): only the first stage of each scale gets it;
            then `strides=(4, ...)`, "residual" and no laterals are Newell's network, layer by layer.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError, naming the argument, for what makes no network, and in `forward` for sizes that
    don't divide. Source: MSSH (ICLR 2019 submission), section 3. Heads at each stage's own resolution,
    Newell's merges between stages and which stage has which scale are ours: the text is silent.
    """

    output = "heatmap"

    def __init__(
        self,
        joints: int,
        strides: Sequence[int] = (8, 8, 8, 4, 4, 4, 2, 2),
        features: int = 256,
        depth: int = 4,
        unit: str = "inception_a",
        lateral: bool = False,
        fusion: str = "add",
        dispatch: str = "every",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        _check(joints, strides, features, depth)
        _choose("unit", unit, tuple(UNITS))
        _choose("fusion", fusion, FUSIONS)
        _choose("dispatch", dispatch, DISPATCHES)
        block = UNITS[unit]
        self.strides = tuple(strides)
        self.stride = self.strides[-1]
        self.depth = depth
        # How many times larger a stage's maps are than those of the stage before; and does it get a map?
        growths = [before // after for before, after in pairwise(self.strides)]
        self.growths = (1, *growths)
        self.receives = tuple(j == 0 or g > 1 or dispatch == "every" for j, g in enumerate(self.growths))
        later = range(1, len(self.strides))

        self.normalise = Normalise(mean, std)
        prepare = LateralPyramid if lateral else SeparateBranches
        self.prepare = prepare(set(self.strides), features, block)
        depths = {8: depth - 1, 4: depth, 2: depth + 1}
        self.hourglasses = nn.ModuleList(_Hourglass(depths[s], features, block) for s in self.strides)
        self.necks = nn.ModuleList(
            nn.Sequential(block(features, features), conv_bn_relu(features, features)) for _ in self.strides
        )
        self.heads = nn.ModuleList(nn.Conv2d(features, joints, 1) for _ in self.strides)
        self.merge_features = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in later)
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(joints, features, 1) for _ in later)
        self.fuse = nn.ModuleDict()
        if fusion == "concat":
            for j in later:
                if self.receives[j]:
                    self.fuse[str(j)] = nn.Conv2d(2 * features, features, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.stages(image))

    def stages(self, image: Tensor) -> Stages:
        """Each stage's heatmaps in turn, see `Stages`."""
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        maps = self.prepare(self.normalise(image))
        x = maps[self.strides[0]]
        for j, hourglass in enumerate(self.hourglasses):
            y = self.necks[j](hourglass(x))
            heatmaps = self.heads[j](y)
            rows = yield heatmaps
            if j < len(self.merge_features):
                x = remaining_rows(x + self.merge_features[j](y) + self.merge_heatmaps[j](heatmaps), rows)
                maps = {stride: remaining_rows(dispatched, rows) for stride, dispatched in maps.items()}
                x = self._meet(j + 1, x, maps)

    def _meet(self, stage: int, x: Tensor, maps: dict[int, Tensor]) -> Tensor:
        """What the stages so far know, at the scale of `stage` and fused with its dispatched map."""
        if self.growths[stage] > 1:
            x = F.interpolate(x, scale_factor=float(self.growths[stage]), mode="nearest")
        if not self.receives[stage]:
            return x
        dispatched = maps[self.strides[stage]]
        if self.fuse:
            fused: Tensor = self.fuse[str(stage)](torch.cat([x, dispatched], 1))
            return fused
        return x + dispatched


def mssh(
    joints: int = 16, unit: str = "inception_a", lateral: bool = False, fusion: str = "add"
) -> MultiScaleStackedHourglass:
    """The paper's network: 8 stages, three at stride 8, three at 4, two at 2 (that split is ours).

    Source: "Multi-Scale Stacked Hourglass Network for Human Pose Estimation", submitted to ICLR 2019.
    Our parameters and multiply-adds at 256 x 256 px for 16 joints, beside the paper's PCKh@0.5 on the
    MPII validation set, trained with the adaptive loss weights; no weights of it were published:

    ============================== ========== ========= =====
    options                        parameters GMAC      PCKh
    ============================== ========== ========= =====
    (none: what the paper prefers) 26.822 M   45.6      89.91
    unit="residual"                25.414 M   43.7      89.19
    unit="inception_b"             26.822 M   29.0      82.95
    lateral=True                   27.287 M   47.6      88.66
    fusion="concat"                27.742 M   51.8      89.36
    ============================== ========== ========= =====

    On the MPII test set the preferred network has 91.2. The paper's baseline, Newell's 8 stacks, has
    88.78 on its validation set; ours of that has 25.434 M parameters and 27.4 GMAC.
    """
    return MultiScaleStackedHourglass(joints, default_strides(8), unit=unit, lateral=lateral, fusion=fusion)


def _bn_relu_conv(in_features: int, out_features: int, kernel: int = 1) -> nn.Sequential:
    """Batch-norm, ReLU, convolution with bias; keeps the size."""
    return nn.Sequential(
        nn.BatchNorm2d(in_features),
        # In place is safe: a batch-norm's output is read by nobody else, and its input is untouched.
        nn.ReLU(inplace=True),
        nn.Conv2d(in_features, out_features, kernel, padding=kernel // 2),
    )
