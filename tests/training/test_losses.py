import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hourglass.training.losses import coordinate_loss, heatmap_loss, joint_losses


def gaussian(x: float, y: float, height: int, width: int, sigma: float) -> npt.NDArray[np.float64]:
    """A target cell by cell, from the formula."""
    cells = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            cells[row, column] = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return cells


def plain_loss(
    maps: Any, keypoints: Any, weight: Any, stride: float, sigma: float, peak: float = 0.0
) -> float:
    total, cells = 0.0, 0
    for b in range(maps.shape[0]):
        for j in range(maps.shape[1]):
            # The middle of crop pixel u lies at (u + 0.5) / stride - 0.5 cells.
            x, y = ((c + 0.5) / stride - 0.5 for c in keypoints[b, j])
            target = gaussian(x, y, maps.shape[2], maps.shape[3], sigma)
            error = (maps[b, j] - target) ** 2 * (1 + peak * target)
            total += float(weight[b, j]) * error.sum()
            cells += error.size
    return total / cells


@pytest.mark.parametrize("peak", [0.0, 9.0])
@pytest.mark.parametrize("sigma", [1.0, 1.75])
def test_agrees_with_a_loop_over_cells(sigma: float, peak: float) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 0.3, (2, 3, 8, 10))
    keypoints = rng.uniform(-3, 40, (2, 3, 2))
    weight = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.5]])
    found = heatmap_loss(
        [torch.tensor(maps)], torch.tensor(keypoints), torch.tensor(weight), 4, sigma, peak_weight=peak
    )
    assert found.shape == (1,)
    expected = plain_loss(maps, keypoints, weight, 4, sigma, peak)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("sigma", "published"), [(1.0, 7.67e-4), (1.75, 2.33e-3), (2.0, 3.00e-3)], ids=lambda v: f"{v:g}"
)
def test_an_answer_of_zero_costs_the_energy_of_the_target(sigma: float, published: float) -> None:
    # A Gaussian's squares sum to pi sigma^2 cells; the published values are of truncated windows.
    found = heatmap_loss(
        [torch.zeros(1, 16, 64, 64)], torch.full((1, 16, 2), 127.5), torch.ones(1, 16), 4, sigma
    )
    assert found.item() == pytest.approx(math.pi * sigma**2 / 64**2, rel=1e-3)
    assert found.item() == pytest.approx(published, rel=0.03)


def test_the_target_itself_costs_nothing() -> None:
    target = gaussian(3.25, 5.0, 16, 16, 1.0)
    # Cell 3.25 is crop pixel (3.25 + 0.5) * 4 - 0.5.
    keypoints = torch.tensor([[[14.5, 21.5]]])
    found = heatmap_loss([torch.tensor(target)[None, None]], keypoints, torch.ones(1, 1), 4, 1.0)
    assert found.item() < 1e-12


def test_a_joint_that_is_not_labelled_has_no_gradient() -> None:
    maps = torch.randn(2, 3, 8, 8, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    loss = heatmap_loss([maps], torch.full((2, 3, 2), 15.0), weight, 4, 1.0, peak_weight=9.0).sum()
    (gradient,) = torch.autograd.grad(loss, maps)
    strength = gradient.abs().amax((-1, -2))
    assert torch.equal(strength > 0, weight > 0)


def test_an_unlabelled_joint_may_lie_nowhere_near() -> None:
    keypoints = torch.tensor([[[10.0, 10.0], [-1e6, 3e5]]])
    weight = torch.tensor([[1.0, 0.0]])
    found = heatmap_loss([torch.zeros(1, 2, 8, 8)], keypoints, weight, 4, 1.0)
    assert torch.isfinite(found).all()


def test_each_stage_has_its_own_term_at_its_own_resolution() -> None:
    rng = np.random.default_rng(1)
    keypoints = rng.uniform(0, 32, (2, 3, 2))
    maps = [rng.normal(0, 0.3, (2, 3, side, side)) for side in (4, 16, 8)]
    weight = np.ones((2, 3))
    # The stride is the last stage's: 8 cells of 4 pixels, so 8 and 2 pixels for the other two.
    found = heatmap_loss(
        [torch.tensor(m) for m in maps], torch.tensor(keypoints), torch.tensor(weight), 4, 1.0
    )
    expected = [plain_loss(m, keypoints, weight, s, 1.0) for m, s in zip(maps, (8, 2, 4), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_peak_weight_by_hand() -> None:
    # One cell whose middle is the joint: target 1, answer 0.5; (1 - 0.5)^2 * (1 + 9 * 1) = 2.5.
    one = torch.tensor([[[[0.5]]]])
    found = heatmap_loss([one], torch.tensor([[[1.5, 1.5]]]), torch.ones(1, 1), 4, 1.0, peak_weight=9.0)
    assert found.item() == pytest.approx(2.5)


def test_half_precision_maps_are_compared_in_single_precision() -> None:
    maps = torch.full((1, 1, 64, 64), 1e-3, dtype=torch.bfloat16)
    found = heatmap_loss([maps], torch.full((1, 1, 2), 127.5), torch.zeros(1, 1) + 1, 4, 1.0)
    assert found.dtype == torch.float32


def test_gradient_agrees_with_finite_differences() -> None:
    maps = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    keypoints, weight = torch.full((1, 2, 2), 6.0), torch.ones(1, 2)

    def loss(m: torch.Tensor) -> torch.Tensor:
        return heatmap_loss([m], keypoints, weight, 4, 1.0, peak_weight=3.0).sum()

    (gradient,) = torch.autograd.grad(loss(maps), maps)
    for place in ((0, 0, 1, 1), (0, 1, 3, 0)):
        shift = torch.zeros_like(maps)
        shift[place] = 1e-2
        with torch.no_grad():
            slope = (loss(maps + shift) - loss(maps - shift)) / 2e-2
        assert gradient[place].item() == pytest.approx(slope.item(), rel=1e-3, abs=1e-6)


def test_terms_of_joints_average_to_the_stage_term() -> None:
    torch.manual_seed(0)
    stages = [torch.randn(3, 4, 8, 8), torch.randn(3, 4, 16, 16)]
    keypoints, weight = torch.rand(3, 4, 2) * 32, (torch.rand(3, 4) > 0.3).float()
    each = joint_losses(stages, keypoints, weight, 2, 1.0, 9.0)
    assert each.shape == (2, 4)
    torch.testing.assert_close(each.mean(1), heatmap_loss(stages, keypoints, weight, 2, 1.0, 9.0))
    for j in range(4):
        one = slice(j, j + 1)
        alone = heatmap_loss([s[:, one] for s in stages], keypoints[:, one], weight[:, one], 2, 1.0, 9.0)
        torch.testing.assert_close(each[:, j], alone)


def test_a_hidden_joint_may_be_a_negative_gaussian() -> None:
    keypoints = torch.tensor([[[9.5, 9.5], [21.5, 13.5]]])
    maps = torch.tensor(np.stack([gaussian(2, 2, 8, 8, 1.0), -gaussian(5, 3, 8, 8, 1.0)]))[None]
    sign, weight = torch.tensor([[1.0, -1.0]]), torch.ones(1, 2)
    right = joint_losses([maps], keypoints, weight, 4, 1.0, 9.0, sign)
    assert right.max().item() == pytest.approx(0, abs=1e-12)
    wrong = joint_losses([maps], keypoints, weight, 4, 1.0, 9.0)
    assert wrong[0, 0].item() == pytest.approx(0, abs=1e-12)
    # Twice a Gaussian off, squared, is four times its energy; where it is high each cell counts more.
    target = gaussian(5, 3, 8, 8, 1.0)
    assert wrong[0, 1].item() == pytest.approx((4 * target**2 * (1 + 9 * target)).mean(), rel=1e-5)


def test_coordinates_count_squared_distances_of_labelled_joints() -> None:
    predicted = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [9.0, 9.0]]])
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    found = coordinate_loss(predicted, torch.zeros(2, 2, 2), weight)
    assert found.item() == pytest.approx((0 + 25 + 2) / 3)
    assert coordinate_loss(predicted, torch.zeros(2, 2, 2), torch.zeros(2, 2)).item() == 0


@pytest.mark.parametrize(
    ("distance", "by_hand"),
    [
        # Errors of two labelled joints: (0.3, 0.4) and (0.01, 0); of the third nobody knows.
        ("l2", (0.09 + 0.16 + 0.0001) / 2),
        ("l1", (0.3 + 0.4 + 0.01) / 2),
        # Beyond 0.02 a line less half of that, below it e^2 / 0.04.
        ("smooth_l1", (0.29 + 0.39 + 0.0025) / 2),
    ],
)
def test_distances_of_coordinates_by_hand(distance: str, by_hand: float) -> None:
    predicted = torch.tensor([[[0.3, -0.4], [0.01, 0.0], [5.0, 5.0]]])
    weight = torch.tensor([[1.0, 1.0, 0.0]])
    found = coordinate_loss(predicted, torch.zeros(1, 3, 2), weight, distance)
    assert found.item() == pytest.approx(by_hand, rel=1e-5)


def test_an_unknown_distance_is_named() -> None:
    with pytest.raises(ValueError, match="is l2, l1 or smooth_l1, not 'l3'"):
        coordinate_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), torch.ones(1, 1), "l3")


# --- MSSH's equation 2, and widths by stage ---------------------------------------------------------------


def test_sums_over_cells_weigh_a_map_by_its_size() -> None:
    rng = np.random.default_rng(2)
    keypoints, weight = torch.tensor(rng.uniform(0, 32, (2, 3, 2))), torch.tensor([[1.0, 0, 1], [1, 1, 0.5]])
    maps = [torch.tensor(rng.normal(0, 0.3, (2, 3, side, side))) for side in (4, 8, 16)]
    means = joint_losses(maps, keypoints, weight, 2, 1.0)
    sums = joint_losses(maps, keypoints, weight, 2, 1.0, cells="sum")
    torch.testing.assert_close(sums, means * torch.tensor([16.0, 64.0, 256.0])[:, None])
    total = heatmap_loss(maps, keypoints, weight, 2, 1.0, 9.0, "sum")
    torch.testing.assert_close(total, joint_losses(maps, keypoints, weight, 2, 1.0, 9.0, cells="sum").mean(1))


def test_a_sum_by_hand() -> None:
    # Four cells, the joint in the middle of the first: its Gaussian is 1, e^-1/2 twice and e^-1.
    found = joint_losses(
        [torch.zeros(1, 1, 2, 2)], torch.tensor([[[1.5, 1.5]]]), torch.ones(1, 1), 4, 1.0, cells="sum"
    )
    assert found.item() == pytest.approx(1 + 2 * math.exp(-1) + math.exp(-2))


def test_each_stage_may_have_a_width_of_its_own() -> None:
    keypoints, weight = torch.full((1, 1, 2), 127.5), torch.ones(1, 1)
    maps = [torch.zeros(1, 1, side, side) for side in (64, 64, 64)]
    found = heatmap_loss(maps, keypoints, weight, 4, (3.5, 2.5, 1.75))
    for loss, sigma in zip(found.tolist(), (3.5, 2.5, 1.75), strict=True):
        assert loss == pytest.approx(math.pi * sigma**2 / 64**2, rel=1e-3)


def test_other_words_and_numbers_of_widths_are_refused() -> None:
    truth = ([torch.zeros(1, 1, 2, 2)], torch.zeros(1, 1, 2), torch.ones(1, 1), 4)
    with pytest.raises(ValueError, match="cells must be mean or sum, not 'median'"):
        joint_losses(*truth, 1.0, cells="median")
    with pytest.raises(ValueError, match="there are 2 target widths for 1 stages"):
        joint_losses(*truth, (1.0, 2.0))
