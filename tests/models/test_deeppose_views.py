"""DeepPose's views and how its stages compose, against plain crops and coordinates worked out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.core import geometry
from hourglass.core.geometry import input_to_heatmap
from hourglass.core.skeleton import SKELETONS, Skeleton
from hourglass.models.deeppose import (
    MIN_DIAMETER,
    DeepPose,
    Diagonals,
    cut_views,
    pose_diameter,
)
from hourglass.recipe.recipe import Recipe, find_recipe, load_recipe
from plain_layers import normalised, picture

TORSO = ((0, 2), (1, 3))


def toy(torso: Diagonals = TORSO, stages: int = 2, **options: Any) -> DeepPose:
    """Most tests put stages of their own in the place of this one's: only the views' side matters."""
    return DeepPose(4, torso, stages, width=4, view_px=64, **options)


def crop(side: int = 96, count: int = 2) -> Tensor:
    return picture(side, side, count)


# --- geometry ---------------------------------------------------------------------------------------------


def test_views_on_whole_pixels_are_plain_crops_and_black_outside() -> None:
    image = crop(16).double()
    corners = torch.tensor([[[3, 5], [0, 12], [-2, 14]], [[6, 6], [11, -3], [2, 2]]])  # (B, J, 2), x and y
    centers = input_to_heatmap(corners.double() + 1.5, 16)  # the middle of 4 pixels from the corner
    views = cut_views(image, centers, torch.full((2, 3), 4 / 16).double(), 4)
    padded = F.pad(image, (4, 4, 4, 4))
    expected = [
        padded[b, :, y + 4 : y + 8, x + 4 : x + 8]
        for b, person in enumerate(corners.tolist())
        for x, y in person
    ]
    torch.testing.assert_close(views, torch.stack(expected), rtol=0, atol=1e-9)


def test_a_view_of_twice_the_pixels_averages_and_boxes_may_differ() -> None:
    image = crop(16).double()
    centers = torch.zeros(2, 2, 2).double()
    sides = torch.tensor([[8 / 16, 4 / 16], [1.0, 8 / 16]]).double()
    views = cut_views(image, centers, sides, 4).view(2, 2, 3, 4, 4)
    half = F.avg_pool2d(image, 2)
    torch.testing.assert_close(views[0, 0], half[0, :, 2:6, 2:6])
    torch.testing.assert_close(views[0, 1], image[0, :, 6:10, 6:10])
    torch.testing.assert_close(views[1, 1], half[1, :, 2:6, 2:6])
    # Four steps of 4 pixels, each between the two middle ones of its four.
    torch.testing.assert_close(views[1, 0], F.avg_pool2d(image[1, :, 1:-1, 1:-1], 2, 4))


def test_diameter_by_hand() -> None:
    points = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [1.0, 0.0], [float("nan"), 7.0]]])
    known = torch.tensor([[True, True, True, False]])
    assert pose_diameter(points, [(0, 1)], known).item() == 5
    assert pose_diameter(points, [(0, 1), (0, 2)], known).item() == 3  # the mean of 5 and 1
    assert pose_diameter(points, [(0, 3), (0, 2)], known).item() == 1  # one end unknown: not counted
    assert pose_diameter(points, [(0, 3)], known).item() == 0  # no diagonal, and a box is none
    assert pose_diameter(points, [], known).item() == 4  # a skeleton without a torso: 3 wide, 4 high
    assert pose_diameter(points[:, :3], [(0, 1), (0, 2)]).item() == 3
    assert pose_diameter(points[:, :3], []).item() == 4
    alone = torch.tensor([[False, True, False, False]])
    for torso in ([(0, 3)], []):
        assert pose_diameter(points, torso, alone).item() == 0
        assert pose_diameter(points, torso, torch.zeros_like(alone)).item() == 0


@pytest.mark.parametrize("skeleton", [*SKELETONS.values(), Skeleton("hand", ("a", "b", "c"), (("a", "c"),))])
def test_any_skeleton_and_a_mirrored_pose_is_as_large(skeleton: Skeleton) -> None:
    points = torch.rand(5, len(skeleton), 2, generator=torch.Generator().manual_seed(0)) - 0.5
    mirrored = (points * torch.tensor([-1.0, 1.0]))[:, torch.from_numpy(skeleton.flip_permutation)]
    size = pose_diameter(points, skeleton.torso_indices)
    assert bool((size > 0).all())
    torch.testing.assert_close(pose_diameter(mirrored, skeleton.torso_indices), size)
    net = DeepPose(len(skeleton), skeleton.torso_indices, 2, "resnet34", width=4, view_px=32).eval()
    with torch.inference_mode():
        assert [a.shape for a in net(crop(40))] == [(2, len(skeleton), 2)] * 2


class Fixed(nn.Module):
    """A stage that answers what it was told, and keeps what it was shown."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.seen = torch.empty(0)

    def forward(self, view: Tensor) -> Tensor:
        self.seen = view
        return self.answer


def every_joint(own: Tensor) -> Tensor:
    """(B, J, 2) to what a stage says on B J views: nonsense for all joints but the view's own."""
    batch, joints = own.shape[:2]
    every = torch.full((batch, joints, joints, 2), 99.0, dtype=own.dtype)
    for j in range(joints):
        every[:, j, j] = own[:, j]
    return every.flatten(0, 1)


def test_composition_by_hand() -> None:
    net = toy(torso=((0, 1),), stages=3, box_sigma=2.0).eval()
    first = torch.tensor([[[-0.2, 0.0], [0.1, 0.4], [0.3, 0.3], [0.0, 0.0]]])  # 0.5 from joint 0 to joint 1
    moves = torch.tensor([[[0.0, 0.0], [-0.18, -0.24], [0.1, -0.2], [0.5, 0.0]]])  # in boxes of 2 x 0.5
    again = torch.tensor([[[0.0, 0.1], [0.0, 0.0], [0.25, 0.0], [0.0, 0.0]]])
    stages = [Fixed(first), Fixed(every_joint(moves)), Fixed(every_joint(again))]
    net.stages = nn.ModuleList(stages)
    answers = net(crop(100, 1))
    second = torch.tensor([[[-0.2, 0.0], [-0.08, 0.16], [0.4, 0.1], [0.5, 0.0]]])
    # Now joint 0 and joint 1 are (0.12, 0.16) apart: 0.2, so boxes of 0.4.
    third = torch.tensor([[[-0.2, 0.04], [-0.08, 0.16], [0.5, 0.1], [0.5, 0.0]]])
    for ours, expected in zip(answers, (first, second, third), strict=True):
        torch.testing.assert_close(ours, expected)
    assert [s.seen.shape for s in stages] == [(1, 3, 64, 64), (4, 3, 64, 64), (4, 3, 64, 64)]
    # The second view of stage 2 is 100 px around pixel (59.5, 89.5): its lower right quarter has no picture.
    assert bool((stages[1].seen[1, :, 40:] == 0).all())
    assert bool((stages[1].seen[0, :, 1:-1, 20:] > 0).any())


def test_a_stage_that_moves_nothing_leaves_the_answer_and_empty_torso_means_the_box() -> None:
    net = toy(torso=()).eval()
    first = torch.tensor([[[-0.2, 0.0], [0.1, 0.4], [0.3, 0.3], [0.0, -0.2]]])  # 0.5 wide, 0.6 high
    net.stages[0] = Fixed(first)
    net.stages[1] = Fixed(torch.zeros(4, 4, 2))
    assert torch.equal(net(crop(count=1))[1], first)
    net.stages[1] = Fixed(torch.full((4, 4, 2), 0.1))
    torch.testing.assert_close(net(crop(count=1))[1], first + 0.1 * 2 * 0.6)


def test_a_collapsed_pose_keeps_a_box() -> None:
    net = toy().eval()
    net.stages[0] = Fixed(torch.zeros(1, 4, 2))
    net.stages[1] = Fixed(torch.ones(4, 4, 2))
    torch.testing.assert_close(net(crop(count=1))[1], torch.full((1, 4, 2), 2 * MIN_DIAMETER))


class KnowsTheTruth(nn.Module):
    """Reads its view's place and size off a picture of coordinates, and answers the way to the truth."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, view: Tensor) -> Tensor:
        pixels = view.shape[-1]
        center = view[:, :2].mean((2, 3)) - 0.5
        side = (view[:, 0, 0, -1] - view[:, 0, 0, 0]) * pixels / (pixels - 1)
        if len(view) == len(self.truth):  # the whole crop
            return self.truth + 0.03 * torch.tensor([1, -1, 2, 1]).view(1, 4, 1)
        own = (self.truth - center.view_as(self.truth)) / side.view(len(self.truth), -1, 1)
        return every_joint(own)


def test_a_perfect_stage_recovers_the_truth_from_its_view_alone() -> None:
    side = 90
    ramp = (torch.arange(side).double() + 0.5) / side
    image = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side)])
    truth = torch.tensor(
        [
            [[-0.1, -0.15], [0.1, -0.1], [0.05, 0.1], [-0.05, 0.12]],
            [[0.0, -0.1], [0.2, -0.1], [0.1, 0.1], [0, 0]],
        ]
    ).double()
    net = toy(stages=2, box_sigma=1.5).double().eval()
    net.stages = nn.ModuleList([KnowsTheTruth(truth), KnowsTheTruth(truth)])
    start, answer = net(image.expand(2, -1, -1, -1))
    assert (start - truth).abs().min() > 0.02
    torch.testing.assert_close(answer, truth, rtol=0, atol=1e-9)


def test_later_stages_see_what_the_shrunk_crop_has_lost() -> None:
    image = (torch.arange(320) % 2 * 255).to(torch.uint8).expand(1, 3, 320, 320)  # stripes of one pixel
    net = toy(stages=2, torso=((0, 1),), box_sigma=1.0).eval()
    places = torch.tensor([[[-0.1, 0.0], [0.1, 0.0], [0.0, 0.0], [0.0, 0.1]]])  # boxes of 64 px
    stages = [Fixed(places), Fixed(torch.zeros(4, 4, 2))]
    net.stages = nn.ModuleList(stages)
    net(image)
    assert stages[0].seen.std() < 0.1  # shrunk fivefold without aliasing: grey
    assert stages[1].seen.std() > 0.4


def test_normalisation_is_inside_and_border_is_black() -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net = toy(mean=mean, std=std).eval()
    stages = [Fixed(torch.full((1, 4, 2), 5.0)), Fixed(torch.zeros(4, 4, 2))]  # far outside the crop
    net.stages = nn.ModuleList(stages)
    image = crop(64, 1)
    net(image)
    by_hand = normalised(image / 255, mean, std)
    torch.testing.assert_close(stages[0].seen, by_hand)
    black = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
    torch.testing.assert_close(stages[1].seen, black.view(1, 3, 1, 1).expand(4, 3, 64, 64))


# --- how much closer later stages look --------------------------------------------------------------------


PICTURE = 1024


def contrast(views: Callable[[Tensor], Tensor], share: float, waves: float) -> float:
    """How much of a grating of so many waves across the picture is left in a view of a share of it."""
    angle = 2 * np.pi * waves * ((np.arange(PICTURE) + 0.5) / PICTURE - 0.5)
    row = (127.5 + 120 * np.cos(angle)).round().astype(np.uint8)
    view = views(torch.from_numpy(np.broadcast_to(row[None, :, None], (PICTURE, PICTURE, 3)).copy()))
    values = view[0, 0, view.shape[-2] // 2].double() * 255
    at = (torch.arange(len(values)) + 0.5) / len(values) - 0.5
    # Only the wave itself: what is aliased to another one is no detail.
    wave = torch.exp(2j * torch.pi * waves * share * at)
    return float(2 * (values * wave).mean().abs() / 120)


def finest(views: Callable[[Tensor], Tensor], share: float) -> float:
    """Waves across the picture up to which a grating keeps half of its contrast."""
    low, high = 8.0, PICTURE / 2
    for _ in range(9):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if contrast(views, share, middle) > 0.5 else (low, middle)
    return low


def real_gain(recipe: Recipe, torso: float) -> float:
    """Detail that stage 2 sees over what stage 1 sees, for a torso of this share of the crop."""
    side, view_px = recipe.data.input_px, recipe.network.view_px
    box = recipe.network.box_sigma * torso
    matrix = geometry.crop_matrix(np.full(2, (PICTURE - 1) / 2), PICTURE, side)

    def crop_of(picture: Tensor) -> Tensor:
        crop = geometry.warp(picture.numpy(), matrix, side)
        return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255

    def first(picture: Tensor) -> Tensor:
        size = (view_px, view_px)
        return F.interpolate(crop_of(picture), size, mode="bilinear", align_corners=False, antialias=True)

    def later(picture: Tensor) -> Tensor:
        return cut_views(crop_of(picture), torch.zeros(1, 1, 2), torch.full((1, 1), box), view_px)

    return finest(later, box) / finest(first, 1.0)


def test_later_stages_really_see_more_in_the_recipes() -> None:
    """The crop itself must hold the detail: one of 256 px for views of 220 px has next to none to add."""
    recipe = load_recipe(find_recipe("coco_deeppose"))
    # The torso of LSP's and COCO's people is 0.29 of their crop, so a square of two torsos is 0.58 of it.
    assert real_gain(recipe, 0.29) > 1.5
    small = load_recipe(find_recipe("coco_deeppose"), ["data.input_px=256"])
    assert real_gain(small, 0.29) < 1.25
    assert load_recipe(find_recipe("coco_deeppose"), ["+data=lspet"]).data.input_px == recipe.data.input_px
