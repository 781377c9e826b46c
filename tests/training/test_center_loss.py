"""Targets against plain loops, the loss against numbers worked out by hand, decoding against the targets."""

import math

import numpy as np
import pytest
import torch

from hourglass.inference.detection.centers import boxes_of
from hourglass.training.losses import LEAST_SIGMA, NEAR, SIGMA, center_loss, center_targets

STRIDE = 4


def views(*people: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    most = max(1, *(len(p) for p in people))
    boxes, present = torch.zeros(len(people), most, 4), torch.zeros(len(people), most, dtype=torch.bool)
    for n, some in enumerate(people):
        for k, box in enumerate(some):
            boxes[n, k], present[n, k] = torch.tensor(box), True
    return boxes, present


def looped(people: list[list[float]], height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre map, box maps and their weights of one view, cell by cell."""
    gauss = np.zeros((len(people), height, width))
    for k, (x0, y0, x1, y1) in enumerate(people):
        cx, cy = min(int((x0 + x1) / 2 // STRIDE), width - 1), min(int((y0 + y1) / 2 // STRIDE), height - 1)
        sx, sy = (max(SIGMA * side / STRIDE, LEAST_SIGMA) for side in (x1 - x0, y1 - y0))
        for y in range(height):
            for x in range(width):
                gauss[k, y, x] = math.exp(-((x - cx) ** 2) / 2 / sx**2 - (y - cy) ** 2 / 2 / sy**2)
    box, weight = np.zeros((4, height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            k = int(gauss[:, y, x].argmax())
            x0, y0, x1, y1 = people[k]
            w, h = x1 - x0, y1 - y0
            px, py = x * STRIDE + 2, y * STRIDE + 2
            box[:, y, x] = (
                ((x0 + x1) / 2 - px) / w,
                ((y0 + y1) / 2 - py) / h,
                math.log(w / 32),
                math.log(h / 32),
            )
            weight[y, x] = gauss[k, y, x] if gauss[k, y, x] > NEAR else 0
    owner = gauss.argmax(0)
    for k in range(len(people)):
        total = weight[owner == k].sum()
        weight[owner == k] /= total if total else 1
    return gauss.max(0), box, weight


def test_targets_cell_by_cell() -> None:
    some = [[3.0, 5.0, 43.0, 61.0], [30.0, 20.0, 60.0, 64.0], [50.0, 1.0, 58.0, 9.0]]
    target = center_targets(*views(some, []), 16, 16, STRIDE)
    centre, box, weight = looped(some, 16, 16)
    np.testing.assert_allclose(target.centre[0], centre, atol=1e-6)
    used = weight > 0
    np.testing.assert_allclose(target.box_weight[0], weight, atol=1e-5)
    np.testing.assert_allclose(target.box[0][:, used], box[:, used], atol=1e-5)
    assert target.box_weight[0].sum() == pytest.approx(3, abs=1e-4)
    assert target.peak[0].nonzero().tolist() == [[1, 13], [8, 5], [10, 11]]
    assert not target.centre[1].any()
    assert not target.peak[1].any()
    assert not target.box_weight[1].any()


def test_loss_by_hand() -> None:
    """One person whose Gaussian is nearly one cell; the network says p everywhere and answers 0 for boxes."""
    boxes, present = views([[4.0, 4.0, 8.0, 8.0]])
    stage = torch.zeros(1, 5, 4, 4)
    background = torch.ones(1, 4, 4, dtype=torch.bool)
    (value,) = center_loss([stage], boxes, present, background, STRIDE).tolist()
    centre, box, weight = looped([[4.0, 4.0, 8.0, 8.0]], 4, 4)
    found = 0.5**2 * math.log(2)
    false = sum(
        (1 - centre[y, x]) ** 4 * 0.5**2 * math.log(2) for y in range(4) for x in range(4) if (y, x) != (1, 1)
    )
    far = (np.abs(box).sum(0) * weight).sum()
    assert far == pytest.approx(2 * math.log(8), abs=1e-6)
    assert value == pytest.approx(found + false + far, rel=1e-5)


def test_only_background_is_punished() -> None:
    """A sure answer costs where nobody is, nothing where somebody may be, and never where a person is."""
    boxes, present = views([[4.0, 4.0, 12.0, 12.0]])
    unsure = torch.ones(1, 8, 8, dtype=torch.bool)
    unsure[0, 6, 6] = unsure[0, 2, 2] = False  # the second is the person's own cell
    quiet = torch.full((1, 5, 8, 8), -8.0)
    quiet[:, 1:] = 0
    quiet[0, 0, 2, 2] = 8
    loud, louder = quiet.clone(), quiet.clone()
    loud[0, 0, 6, 6] = 8
    louder[0, 0, 6, 2] = 8
    missed = quiet.clone()
    missed[0, 0, 2, 2] = -8

    def cost(stage: torch.Tensor) -> float:
        return float(center_loss([stage], boxes, present, unsure, STRIDE))

    assert cost(loud) == pytest.approx(cost(quiet), abs=1e-5)
    assert cost(louder) > cost(quiet) + 5
    assert cost(missed) > cost(quiet) + 5


def test_loss_is_a_mean_over_people_and_a_stage_each() -> None:
    one = views([[4.0, 4.0, 28.0, 28.0]])
    twice = views([[4.0, 4.0, 28.0, 28.0]], [[4.0, 4.0, 28.0, 28.0]])
    stage = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    background = torch.ones(1, 8, 8, dtype=torch.bool)
    first = center_loss([stage, 0 * stage], *one, background, STRIDE)
    second = center_loss(
        [stage.repeat(2, 1, 1, 1), 0 * stage.repeat(2, 1, 1, 1)], *twice, background.repeat(2, 1, 1), STRIDE
    )
    assert first.shape == (2,)
    torch.testing.assert_close(first, second)
    assert first[0] != first[1]


def test_decoding_gives_the_targets_boxes_back() -> None:
    some = [[3.0, 5.0, 43.0, 61.0], [60.0, 20.0, 90.0, 64.0], [50.0, 70.0, 64.0, 110.0]]
    target = center_targets(*views(some), 32, 32, STRIDE)
    logit = torch.logit(target.centre[0].clamp(1e-4, 1 - 1e-4))
    corners, scores = boxes_of(torch.cat([logit[None], target.box[0]]).numpy(), STRIDE, 0.5)
    assert len(corners) == 3
    assert (scores > 0.99).all()
    order = np.argsort(corners[:, 0])
    np.testing.assert_allclose(corners[order], np.array(some)[[0, 2, 1]], atol=1e-3)


def test_gradients_are_finite_for_any_answer() -> None:
    boxes, present = views([[0.0, 0.0, 64.0, 64.0]], [])
    stage = (100 * torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(1))).requires_grad_()
    center_loss([stage], boxes, present, torch.ones(2, 16, 16, dtype=torch.bool), STRIDE).sum().backward()  # type: ignore[no-untyped-call]
    assert stage.grad is not None
    assert torch.isfinite(stage.grad).all()
    assert stage.grad.abs().sum() > 0
