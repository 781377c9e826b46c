"""Chained Prediction (Gkioxari, Toshev, Jaitly 2016): each joint is told where the earlier ones are.

NN below is the public PyTorch version whose layers this network follows,
github.com/Naman-ntc/Pytorch-Human-Pose-Estimation.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import STRIDE as ENCODER_STRIDE
from hourglass.models.layers import ResNetEncoder
from hourglass.models.spatial_softmax import normalise_maps, spatial_softmax
from hourglass.models.stacked_hourglass import Normalise

Feedback = Literal["softmax", "raw"]
FEEDBACKS: tuple[Feedback, ...] = get_args(Feedback)

STRIDE = 8
"""Input pixels per cell of the answer: the encoder's 32, doubled in resolution twice."""
FEEDBACK_SCALE = 2 * math.pi
"""A map that sums to one is fed back times this: a Gaussian of one cell's deviation then peaks at 1."""

EASY_TO_HARD: tuple[frozenset[str], ...] = (
    frozenset({"head", "nose", "eye", "ear"}),
    frozenset({"neck"}),
    frozenset({"thorax"}),
    frozenset({"shoulder"}),
    frozenset({"hip", "pelvis"}),
    frozenset({"elbow"}),
    frozenset({"knee"}),
    frozenset({"wrist"}),
    frozenset({"ankle"}),
)
"""Words of joint names, in the order in which `default_order` predicts them."""


def default_order(names: Sequence[str]) -> tuple[int, ...]:
    """Rows of `names` from the easy joints to the hard ones, by `EASY_TO_HARD`.

    Joints of one kind keep the order of the data; a name without any known word comes last. The list is
    ours.
    """

    def rank(row: int) -> int:
        words = {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])", names[row])}
        kinds = (kind for kind, known in enumerate(EASY_TO_HARD) if words & known)
        return next(kinds, len(EASY_TO_HARD))

    return tuple(sorted(range(len(names)), key=rank))


def order_from_names(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Rows of `names` in the order that a recipe writes down.

    Raises ValueError naming `network.order` and the joint that is unknown, there twice or missing.
    """
    for joint in wanted:
        if joint not in names:
            raise ValueError(f"network.order names {joint!r}, but the joints are {', '.join(names)}")
    for joint, count in Counter(wanted).items():
        if count > 1:
            raise ValueError(f"network.order names {joint!r} {count} times; name each joint once")
    missing = [name for name in names if name not in wanted]
    if missing:
        raise ValueError(f"network.order lacks {', '.join(map(repr, missing))}; name every joint once")
    return tuple(names.index(joint) for joint in wanted)


class _Deception(nn.Module):
    """A joint's map ``(B, 1, 4 h, 4 w)`` from the hidden state ``(B, hidden, h, w)``: CNN_y of the paper.

    Twice, three transposed convolutions of different reach double the resolution side by side and are
    summed. The BN and ReLU after each sum are those that NN declares and never calls; without them the
    decoder would be linear.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        features = hidden // 2
        self.start = nn.Conv2d(hidden, features, 1)
        self.ups = nn.ModuleList(
            nn.ModuleList(nn.ConvTranspose2d(features, features, k, 2, k // 2 - 1) for k in (2, 4, 6))
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in range(2))
        self.end = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for towers, norm in zip(self.ups, self.norms, strict=True):
            assert isinstance(towers, nn.ModuleList)
            x = F.relu(norm(towers[0](x) + towers[1](x) + towers[2](x)))
        y: Tensor = self.end(x)
        return y


def _embedding(hidden: int, kernel: int, receivers: int) -> nn.Sequential:
    """One map ``(B, 1, 4 h, 4 w)`` to what each later step hears of it, ``(B, receivers * hidden, h, w)``.

    Grouped, so every receiver has weights of its own, while a chain of J joints runs J - 1 of these and
    not J (J - 1) / 2.
    """
    wide = receivers * hidden

    def halve() -> tuple[nn.Module, nn.Module]:
        return nn.Conv2d(wide, wide, kernel, 2, kernel // 2, groups=receivers), nn.BatchNorm2d(wide)

    return nn.Sequential(nn.Conv2d(1, wide, 1), *halve(), *halve())


class ChainedPrediction(nn.Module):
    """Images ``(B, 3, H, W)`` to ``[(B, J, H / 8, W / 8)]``, joints in the skeleton's order; one stage.

    With joints counted in the order of the chain, from 0::

        h_0 = conv1x1(encoder(image))                            at H / 32
        h_t = ReLU(BN(conv(h_{t-1})) + sum over i < t of e_{t,i}(y_i))
        y_t = deception_t(h_t)                                   at H / 8

    The first joint is read from h_0 itself, which is the formula at t = 0 and what NN does. No weights are
    shared between steps. The whole chain is trained end to end: gradients flow back through what is fed.

    Args:
        joints: J.
        order: the joint predicted at each step, a permutation of 0..J-1; empty is the skeleton's order.
            `default_order` and `order_from_names` make one from names.
        depth, width: of the residual encoder; 34 and 64 as in NN.
        hidden: features of h; even.
        hidden_kernel: side of the convolution from h to h; odd.
        output_kernel: side of the two stride-2 convolutions in e; odd. With 1, as in NN, a later step
            hears only every fourth row and column of an earlier map; from 3 on it hears all cells.
        feedback: what a step tells the later ones. `softmax`: its map as a distribution over cells
            times `FEEDBACK_SCALE`; `output` is then `logits`. `raw`: the map itself, to be compared with
            Gaussians as in NN; `output` is then `heatmap`.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError naming the option, and in `forward` for sides that are no multiples of 32 or a truth of
    another shape. Source: arXiv 1605.02346 for the formula; the layers are those of NN, without what its
    forward never uses.
    """

    stride = STRIDE

    def __init__(
        self,
        joints: int,
        order: Sequence[int] = (),
        depth: int = 34,
        width: int = 64,
        hidden: int = 64,
        hidden_kernel: int = 1,
        output_kernel: int = 1,
        feedback: Feedback = "softmax",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        if joints < 1:
            raise ValueError(f"joints must be at least 1, not {joints}")
        if order and sorted(order) != list(range(joints)):
            raise ValueError(f"order must name each joint from 0 to {joints - 1} once, not {list(order)}")
        if hidden < 2 or hidden % 2:
            raise ValueError(f"hidden must be a positive even number, not {hidden}")
        for name, kernel in (("hidden_kernel", hidden_kernel), ("output_kernel", output_kernel)):
            if kernel < 1 or kernel % 2 == 0:
                raise ValueError(f"{name} must be a positive odd number, not {kernel}")
        if feedback not in FEEDBACKS:
            raise ValueError(f"unknown feedback {feedback!r}; known are {', '.join(FEEDBACKS)}")
        self.order = tuple(order) or tuple(range(joints))
        self.hidden = hidden
        self.feedback = feedback
        self.output = "logits" if feedback == "softmax" else "heatmap"
        self.normalise = Normalise(mean, std)
        self.encoder = ResNetEncoder(depth, width)
        self.start = nn.Conv2d(self.encoder.out_features, hidden, 1)
        self.transitions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, hidden, hidden_kernel, padding=hidden_kernel // 2), nn.BatchNorm2d(hidden)
            )
            for _ in range(joints - 1)
        )
        self.embeddings = nn.ModuleList(
            _embedding(hidden, output_kernel, receivers) for receivers in range(joints - 1, 0, -1)
        )
        self.decoders = nn.ModuleList(_Deception(hidden) for _ in range(joints))

    def forward(
        self, image: Tensor, truth: Tensor | None = None, use_truth: Tensor | None = None
    ) -> list[Tensor]:
        """Answer; in training, optionally with the truth fed back in place of own predictions.

        Args:
            truth: (B, J, H / 8, W / 8), what `heatmap.encode` draws. With softmax feedback each map is first
                brought to the sum of a prediction's, so its own scale is free; an empty map stays zero.
            use_truth: (B, J) bool, True where the truth is fed, such as `scheduled_truth` draws; should be
                False where a joint is not labelled. None with a truth feeds it everywhere.
        """
        height, width = image.shape[-2:]
        if height % ENCODER_STRIDE or width % ENCODER_STRIDE or not height or not width:
            raise ValueError(
                f"an input of {height} x {width} px does not fit the encoder's stride: "
                f"both sides must be multiples of {ENCODER_STRIDE}"
            )
        shape = (image.shape[0], len(self.order), height // STRIDE, width // STRIDE)
        _check_truth(shape, truth, use_truth)
        if truth is not None and self.feedback == "softmax":
            truth = normalise_maps(truth) * FEEDBACK_SCALE

        h: Tensor = self.start(self.encoder(self.normalise(image)))
        maps: dict[int, Tensor] = {}
        # What the steps to come have heard so far, side by side: the next one's share is at the front.
        heard: Tensor | None = None
        for step, joint in enumerate(self.order):
            if heard is not None:
                h = F.relu(self.transitions[step - 1](h) + heard[:, : self.hidden])
            y: Tensor = self.decoders[step](h)
            maps[joint] = y
            if step == len(self.embeddings):
                break
            fed = spatial_softmax(y) * FEEDBACK_SCALE if self.feedback == "softmax" else y
            if truth is not None:
                own, fed = fed, truth[:, joint : joint + 1].to(fed.dtype)
                if use_truth is not None:
                    fed = torch.where(use_truth[:, joint, None, None, None], fed, own)
            told = self.embeddings[step](fed)
            heard = told if heard is None else heard[:, self.hidden :] + told
        return [torch.cat([maps[joint] for joint in range(len(maps))], 1)]


def _check_truth(shape: tuple[int, ...], truth: Tensor | None, use_truth: Tensor | None) -> None:
    if truth is None:
        if use_truth is not None:
            raise ValueError("use_truth needs truth, which was not given; pass both or none")
        return
    if tuple(truth.shape) != shape:
        raise ValueError(f"truth has the shape {tuple(truth.shape)}, but the answer has {shape}")
    if use_truth is not None and (tuple(use_truth.shape) != shape[:2] or use_truth.dtype != torch.bool):
        raise ValueError(
            f"use_truth is {use_truth.dtype} {tuple(use_truth.shape)}; it must be torch.bool {shape[:2]}"
        )


def chained(joints: int = 16, order: Sequence[int] = ()) -> ChainedPrediction:
    """The single-image network in NN's layers: ResNet-34, 64 hidden features, softmax feedback.

    Paper: Chained Predictions Using Convolutional Neural Networks, arXiv 1605.02346; its PCKh@0.5 on the
    MPII test set is 86.1. The slides of Yoo, Peng and Aggarwal (2019) give 26.5 M parameters and a COCO PCK
    of 82.0, which is NN's number.

    Trainable parameters: 24.304 M for 16 joints, 24.565 M for 17. NN has 24.718 M for 17: it also holds a
    transition and 17 embeddings after the last joint, 0.152 M, that its forward never calls. With
    `hidden_kernel=5` ours are 25.779 M and 26.138 M (NN 26.389 M for 17); 26.5 M is not reproduced.
    """
    return ChainedPrediction(joints, order)
