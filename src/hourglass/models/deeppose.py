"""DeepPose: joint coordinates by regression, refined by a cascade that looks closer at each joint.

Coordinates here are shares of the square crop, counted from its middle: `(u + 0.5) / S - 0.5` for pixel
u of S, which is `geometry.input_to_heatmap(u, S)`: the crop taken as one cell.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import STRIDE, ResNetEncoder
from hourglass.models.stacked_hourglass import Normalise

Diagonals = Sequence[tuple[int, int]]

BACKBONES = {"alexnet": 0, "resnet34": 34, "resnet50": 50, "resnet101": 101}
"""Words for the encoder of a stage; the number is the residual network's depth."""
MIN_DIAMETER = 0.02
"""Poses smaller than this share of the crop count as this large, so that no box shrinks to a point (ours)."""


def pose_diameter(points: Tensor, torso: Diagonals, known: Tensor | None = None) -> Tensor:
    """(B,): size of each pose, in the unit of its points.

    It is the mean length of the torso's diagonals whose two ends are known, and 0 where there is none. For a
    skeleton without diagonals it is the longer side of the upright box around the known joints, 0 for fewer
    than two of them. The paper has one diagonal; the mean (ours) makes a mirrored pose as large as the pose.

    A box never stands in for a torso: it is 2.4 times as long (LSP-Extended, median), and an answer, which
    has all joints, is always measured by its torso.

    Args:
        points: (B, J, 2).
        torso: (shoulder, hip) rows; may be empty.
        known: (B, J) bool; None is everything. What is not known may hold anything, NaN included.
    """
    if known is None and torso:
        return torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) for a, b in torso]).mean(0)
    if known is None:
        return (points.amax(1) - points.amin(1)).amax(-1)
    mask = known[..., None]
    if not torso:
        low = torch.where(mask, points, torch.inf).amin(1)
        high = torch.where(mask, points, -torch.inf).amax(1)
        return (high - low).amax(-1).clamp_min(0)
    points = torch.where(mask, points, 0)
    both = torch.stack([known[:, a] & known[:, b] for a, b in torso]).to(points.dtype)
    lengths = torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) for a, b in torso])
    count = both.sum(0)
    return (lengths * both).sum(0) / count.clamp_min(1)


def cut_views(image: Tensor, centers: Tensor, sides: Tensor, view_px: int) -> Tensor:
    """(B J, 3, view_px, view_px): one square cut out of the crop around each joint, black outside it.

    Bilinear, in one call. View pixel v lies at `centre + side * ((v + 0.5) / view_px - 0.5)`.

    Args:
        image: (B, 3, S, S) floating.
        centers: (B, J, 2) shares of the crop.
        sides: (B, J) shares of the crop.
    """
    joints = centers.shape[1]
    steps = (torch.arange(view_px, device=image.device, dtype=image.dtype) + 0.5) / view_px - 0.5
    # grid_sample's [-1, 1] spans the crop's pixel edges, so it is twice the share. All views of one crop
    # are one tall grid: the crop need not be repeated for each of its joints.
    x, y = (2 * (c[..., None] + sides[..., None] * steps) for c in centers.unbind(-1))
    shape = (-1, joints, view_px, view_px)
    grid = torch.stack([x[:, :, None, :].expand(shape), y[:, :, :, None].expand(shape)], -1)
    views = F.grid_sample(image, grid.flatten(1, 2), padding_mode="zeros", align_corners=False)
    return views.reshape(-1, 3, joints, view_px, view_px).transpose(1, 2).flatten(0, 1)


def _alexnet(width: int, view_px: int, dropout: float, batch_norm: bool) -> tuple[nn.Sequential, int]:
    """The paper's layers up to the second fully connected one, and how many features it has.

    With `batch_norm` one stands before each ReLU, and there are no response norms (ours).
    """
    if width < 2 or width % 2:
        raise ValueError(f"width must be a positive even number for alexnet, not {width}")
    first, second, middle, full = 3 * width // 2, 4 * width, 6 * width, 64 * width
    cells = (view_px - 3) // 4 + 1
    for _ in range(3):
        cells = (cells - 1) // 2
    if cells < 1:
        raise ValueError(f"view_px must be at least 59 for alexnet's three poolings, not {view_px}")

    def active(features: int, kind: type[nn.Module] = nn.BatchNorm2d) -> list[nn.Module]:
        return [*([kind(features)] if batch_norm else []), nn.ReLU(inplace=True)]

    def pooled() -> list[nn.Module]:
        # Krizhevsky's constants; torch divides alpha by the number of neighbours.
        response = [] if batch_norm else [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)]
        return [*response, nn.MaxPool2d(3, 2)]

    layers = nn.Sequential(
        *(nn.Conv2d(3, first, 11, 4, padding=4), *active(first), *pooled()),
        *(nn.Conv2d(first, second, 5, padding=2), *active(second), *pooled()),
        *(nn.Conv2d(second, middle, 3, padding=1), *active(middle)),
        *(nn.Conv2d(middle, middle, 3, padding=1), *active(middle)),
        *(nn.Conv2d(middle, second, 3, padding=1), *active(second), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(second * cells**2, full), *active(full, nn.BatchNorm1d), nn.Dropout(dropout)),
        *(nn.Linear(full, full), *active(full, nn.BatchNorm1d), nn.Dropout(dropout)),
    )
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Without batch-norms torch's default would shrink the signal sixfold a layer.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return layers, full


WINDOW = 7
"""Side, in cells, of the windows that `pool="windows"` averages: what a view of 224 px has."""


def _resnet(depth: int, width: int, view_px: int, dropout: float, pool: str) -> tuple[nn.Sequential, int]:
    """A residual encoder and its pooling, and how many features a view becomes."""
    if view_px < 32:
        raise ValueError(f"view_px must be at least 32 for a residual encoder, not {view_px}")
    encoder = ResNetEncoder(depth, width)
    features = encoder.out_features
    pooling: nn.Module = nn.AdaptiveAvgPool2d(1)
    if pool == "windows":
        grid = (view_px + STRIDE - 1) // STRIDE - WINDOW + 1
        if grid < 1:
            least = (WINDOW - 1) * STRIDE + 1
            raise ValueError(f"view_px must be at least {least} for windows of {WINDOW} cells, not {view_px}")
        features, pooling = features * grid**2, nn.AvgPool2d(WINDOW, stride=1)
    return nn.Sequential(encoder, pooling, nn.Flatten(), nn.Dropout(dropout)), features


class Regressor(nn.Module):
    """One stage: normalised views ``(N, 3, V, V)`` to displacements ``(N, J, 2)``, in sides of the view.

    With `spread` it also says how wide its doubt is, see `with_spread`, and has the flow that RLE learns by.
    """

    def __init__(
        self,
        joints: int,
        backbone: str,
        width: int,
        view_px: int,
        dropout: float,
        batch_norm: bool = False,
        pool: str = "mean",
        spread: bool = False,
    ) -> None:
        super().__init__()
        depth = BACKBONES[backbone]
        self.encoder, features = (
            _resnet(depth, width, view_px, dropout, pool)
            if depth
            else _alexnet(width, view_px, dropout, batch_norm)
        )
        self.head = nn.Linear(features, 2 * joints)
        self.spread = nn.Linear(features, 2 * joints) if spread else None
        self.flow = ResidualFlow() if spread else None
        self.reset_head()

    def reset_head(self) -> None:
        """Fresh last layer; it starts close to no displacement, a tenth of a view or so."""
        nn.init.normal_(self.head.weight, std=0.1 / self.head.in_features**0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, view: Tensor) -> Tensor:
        return self._pairs(self.head, self.encoder(view))

    def with_spread(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements (N, J, 2) and the width of the doubt in each, (N, J, 2) in 0..1."""
        assert self.spread is not None
        x: Tensor = self.encoder(view)
        return self._pairs(self.head, x), self._pairs(self.spread, x).sigmoid()

    def _pairs(self, layer: nn.Linear, x: Tensor) -> Tensor:
        kind = x.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            # bf16 would round a coordinate near the border to half a pixel of a 256 px crop.
            with torch.autocast(kind, enabled=False):
                y: Tensor = layer(x.to(layer.weight.dtype))
        else:
            y = layer(x)
        return y.reshape(-1, layer.out_features // 2, 2)


def _restore_active(network: nn.Module, keys: object) -> None:
    assert isinstance(network, DeepPose)
    if not network.active.is_meta:
        network.set_active_stages(int(network.active))


class DeepPose(nn.Module):
    """Crops ``(B, 3, S, S)`` to coordinates ``(B, J, 2)``: one tensor per active stage, the last the answer.

    Stage 1 sees the whole crop, shrunk to `view_px`. Each later stage sees one square of `view_px` per joint,
    cut out of the full crop around where the joint was believed to be, and answers by how much to move it;
    of its J displacements only that joint's is used. No gradient flows through the place of a view, so each
    stage's answer teaches that stage alone.

    Coordinates are shares of the crop from its middle: 0 is the middle, +-0.5 the border.
    `geometry.heatmap_to_input(answer, S)` are pixels.

    Args:
        joints: J.
        torso: (shoulder, hip) rows whose mean distance is the pose's diameter. Empty: the longer side of
            the box around the joints.
        stages: regressors, each with its own weights; the paper has 3.
        backbone: "alexnet" (the paper), "resnet34", "resnet50" or "resnet101".
        width: 64 as published; every layer's features are proportional to it. Even for alexnet.
        view_px: side of what a stage looks at; at least 59 for alexnet, 32 for the others.
        box_sigma: side of a joint's square in diameters; 2.0 on LSP, 1.0 on FLIC.
        dropout: share of features dropped after each fully connected layer (residual backbones: of the
            pooled features).
        batch_norm: in alexnet, instead of its response norms (ours; the paper has none).
        pool: of residual backbones, "mean" over all cells, or "windows" of 7 x 7 cells one cell apart,
            whose grid, 2 x 2 for views of 256 px, the last layer reads.
        spread: each stage also has a layer for the width of its doubt and a flow, to be trained by RLE
            (`models.deeppose`); answers are coordinates alone.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`; black fills views past the border.

    `active_stages` are the trained ones, which `forward` runs; all of them in a new network. It travels in
    the weights as the buffer `active`. `displacement_mean` (stages, J, 2) and `displacement_chol` (stages,
    J, 2, 2), read by `training.cascade` only, say how far the stages before were off: row s - 1 is for
    stage s, `truth - answer` in true diameters, mean and lower Cholesky factor of the covariance.

    Raises ValueError naming the option, and in `forward` for crops that aren't square. Source: Toshev and
    Szegedy 2014; the residual backbones as in the comparison of the JHU slides. Parameters of one stage:
    alexnet 58,412,448 for 16 joints and 58,420,642 for 17, three stages three times that (the paper and
    the slides say 40 M, which these layers don't have); for 17 joints resnet34 21,302,114, resnet50
    23,577,698, resnet101 42,569,826.
    """

    output = "coordinates"
    stride = 1
    active: Tensor
    displacement_mean: Tensor
    displacement_chol: Tensor

    def __init__(
        self,
        joints: int,
        torso: Diagonals,
        stages: int = 3,
        backbone: str = "alexnet",
        width: int = 64,
        view_px: int = 220,
        box_sigma: float = 2.0,
        dropout: float = 0.6,
        batch_norm: bool = False,
        pool: str = "mean",
        spread: bool = False,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        for name, value in {"joints": joints, "stages": stages, "width": width}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for pair in torso:
            if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= j < joints for j in pair):
                raise ValueError(f"torso must hold pairs of two rows below {joints}, not {tuple(pair)}")
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}")
        if batch_norm and backbone != "alexnet":
            raise ValueError(f"batch_norm is for alexnet; {backbone} has batch-norms anyway")
        if pool not in ("mean", "windows") or (pool == "windows" and backbone == "alexnet"):
            raise ValueError(
                f"pool must be 'mean', or 'windows' but for alexnet, not {pool!r} for {backbone}"
            )
        if not box_sigma > 0:
            raise ValueError(f"box_sigma must be positive, not {box_sigma}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
        self.joints = joints
        self.torso = tuple((int(a), int(b)) for a, b in torso)
        self.view_px = view_px
        self.box_sigma = box_sigma
        self.normalise = Normalise(mean, std)
        self.stages = nn.ModuleList(
            Regressor(joints, backbone, width, view_px, dropout, batch_norm, pool, spread)
            for _ in range(stages)
        )
        self.active_stages = stages
        self.register_buffer("active", torch.tensor(stages))
        # Until they are fitted: a quarter of a diameter in any direction (ours).
        self.register_buffer("displacement_mean", torch.zeros(stages, joints, 2))
        self.register_buffer("displacement_chol", 0.25 * torch.eye(2).repeat(stages, joints, 1, 1))
        self.register_load_state_dict_post_hook(_restore_active)  # type: ignore[no-untyped-call]

    def set_active_stages(self, count: int) -> None:
        """Let `forward` run the first `count` stages; raises ValueError for a count that there isn't."""
        if not 1 <= count <= len(self.stages):
            raise ValueError(f"active stages must be 1 to {len(self.stages)}, not {count}")
        self.active_stages = count
        self.active.fill_(count)

    def forward(
        self,
        image: Tensor,
        around: tuple[Tensor, Tensor] | None = None,
        truth: Tensor | None = None,
    ) -> list[Tensor]:
        """Coordinates of every active stage, or what the last active one sees in given boxes.

        Args:
            image: (B, 3, S, S), uint8 0..255 or floating 0..1, RGB; S may be larger than `view_px`.
            around: box centres (B, J, 2) and sides (B, J) as shares of the crop. With them the answer is
                one tensor (B, J, 2): the last active stage's displacements in box sides.
            truth: (B, J, 2), in the unit of the answer, for networks with `spread`. With it the answer is one
                tensor (B, J): how unlikely the last active stage finds each joint's truth (`surprise`).
        """
        height, width = image.shape[-2:]
        if height != width:
            raise ValueError(f"DeepPose takes square crops, not {height} x {width} px")
        x = image.float() / 255 if image.dtype == torch.uint8 else image
        if around is not None:
            if self.active_stages == 1:
                raise ValueError("stage 1 sees the whole crop: boxes need at least 2 active stages")
            if truth is not None:
                return [self._surprise(self._views(x, *around), truth)]
            return [self._displacements(self.active_stages - 1, x, *around)]
        whole = x
        if width != self.view_px:
            size = (self.view_px, self.view_px)
            whole = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        if truth is not None:
            if self.active_stages > 1:
                raise ValueError(
                    "truth for the stages after the first needs around, the boxes that they look at"
                )
            return [self._surprise(self.normalise(whole), truth)]
        first: Tensor = self.stages[0](self.normalise(whole))
        answers = [first.to(x.dtype)]
        for i in range(1, self.active_stages):
            centers = answers[-1].detach()
            side = self.box_sigma * pose_diameter(centers, self.torso).clamp_min(MIN_DIAMETER)
            sides = side[:, None].expand(-1, self.joints)
            answers.append(centers + sides[..., None] * self._displacements(i, x, centers, sides))
        return answers

    def _displacements(self, index: int, image: Tensor, centers: Tensor, sides: Tensor) -> Tensor:
        every: Tensor = self.stages[index](self._views(image, centers, sides))
        return self._own(every).to(image.dtype)

    def _views(self, image: Tensor, centers: Tensor, sides: Tensor) -> Tensor:
        views: Tensor = self.normalise(cut_views(image, centers, sides, self.view_px))
        return views

    def _own(self, every: Tensor) -> Tensor:
        """(B J, J, 2), on each joint's view what is said of all joints, to (B, J, 2): of that joint."""
        return every.reshape(-1, self.joints**2, 2)[:, :: self.joints + 1]

    def _surprise(self, views: Tensor, truth: Tensor) -> Tensor:
        stage = self.stages[self.active_stages - 1]
        assert isinstance(stage, Regressor)
        if stage.flow is None:
            raise ValueError("only a network made with spread can tell how unlikely a truth is")
        predicted, sigma = stage.with_spread(views)
        if self.active_stages > 1:
            predicted, sigma = self._own(predicted), self._own(sigma)
        with torch.autocast(views.device.type, enabled=False):
            return surprise(predicted, sigma, truth, stage.flow)


def deeppose(
    joints: int = 16,
    torso: Diagonals = (),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> DeepPose:
    """The paper's network: three alexnet stages; 175.237 M parameters for 16 joints, 58.412 M in each."""
    return DeepPose(joints, torso, 3, "alexnet", mean=mean, std=std)


def deeppose_resnet(
    depth: int = 34,
    joints: int = 17,
    torso: Diagonals = (),
    stages: int = 1,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> DeepPose:
    """A residual encoder, mean over cells, one linear layer, no dropout; ours of the slides' comparison.

    21.302 M, 23.578 M or 42.570 M parameters a stage for 17 joints and depth 34, 50 or 101. Views of 224 px.
    """
    return DeepPose(joints, torso, stages, f"resnet{depth}", view_px=224, dropout=0.0, mean=mean, std=std)


def deeppose_slides(
    joints: int = 17,
    torso: Diagonals = (),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> DeepPose:
    """The slides' DeepPose row by the code behind it: one ResNet-34 that keeps a grid of 2 x 2 cells.

    21.354 M parameters for 17 joints: windows of 7 x 7 cells over the 8 x 8 of a 256 px crop, then one linear
    layer. There it starts from ImageNet's weights. Source: Naman-ntc/Pytorch-Human-Pose-Estimation in
    December 2018, when torchvision's networks ended in such windows.
    """
    return DeepPose(
        joints, torso, 1, "resnet34", view_px=256, dropout=0.0, pool="windows", mean=mean, std=std
    )


_LAYERS, _HIDDEN = 6, 64


def _net(last: nn.Module | None = None) -> nn.Sequential:
    """From the half that is known to the scale or the shift of the other; starts close to zero."""
    layers = [nn.Linear(2, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU()]
    layers += [nn.Linear(_HIDDEN, 2), *([last] if last is not None else [])]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class ResidualFlow(nn.Module):
    """A density of points in the plane: six affine couplings of a standard normal (RealNVP).

    Source: Dinh et al. 2017 (arXiv 1605.08803), in the sizes of RLE's code; 53,784 parameters.
    """

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_net(nn.Tanh()) for _ in range(_LAYERS))
        self.shifts = nn.ModuleList(_net() for _ in range(_LAYERS))
        mask = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(_LAYERS // 2, 1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """Log-density (...,) of points (..., 2)."""
        z, change = points, torch.zeros_like(points[..., 0])
        for scale, shift, kept in zip(self.scales, self.shifts, self.mask, strict=True):
            known, other = z * kept, 1 - kept
            stretch = scale(known) * other
            z = known + other * (z - shift(known)) * torch.exp(-stretch)
            change = change - stretch.sum(-1)
        return change - (z**2).sum(-1) / 2 - math.log(2 * math.pi)


def surprise(predicted: Tensor, sigma: Tensor, truth: Tensor, flow: ResidualFlow) -> Tensor:
    """Negative log-likelihood (B, J) of the truth (B, J, 2), float32.

    With e = (truth - predicted) / sigma it is `sum log sigma - log Q(e) - log G(e)`, Q the Laplace density
    `exp(-|x| - |y|) / 4` and G the flow's: the paper's equation, whose constant log s is left out. The
    authors' code counts log sigma and log G twice.

    Args:
        predicted, sigma: (B, J, 2); sigma is positive.
    """
    predicted, sigma, truth = predicted.float(), sigma.float(), truth.float()
    error = (truth - predicted) / sigma
    laplace = -error.abs().sum(-1) - 2 * math.log(2)
    found: Tensor = sigma.log().sum(-1) - laplace - flow(error)
    return found
