from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hourglass.core.skeleton import Skeleton
from hourglass.data.loading.images import ImageError
from hourglass.inference import predictor as module
from hourglass.inference.device import Precision
from hourglass.inference.predictor import Predictor
from hourglass.models import heatmap
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.calibration import Calibration
from hourglass.weights.checkpoint import WeightFacts, WeightsError, save_weights

DOTS = Skeleton(
    name="dots",
    joints=("head", "left_hand", "right_hand", "left_foot", "right_foot"),
    flip_pairs=(("left_hand", "right_hand"), ("left_foot", "right_foot")),
    limbs=(("left_hand", "right_hand"),),
)
YELLOW, RED, BLUE = (255, 255, 0), (255, 0, 0), (0, 0, 255)
COLOURS = (YELLOW, RED, RED, BLUE, BLUE)
STRIDE = 4

Points = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]


class DotFinder(nn.Module):
    """Stands for a perfect network: finds a yellow head, two red hands and two blue feet.

    As for a real person seen from the front, the left hand is the one on the right of the head, so a
    mirrored picture's left and right change places.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.batches: list[int] = []

    def forward(self, image: Tensor) -> list[Tensor]:
        self.passes += 1
        self.batches.append(len(image))
        assert image.dtype == torch.uint8
        red, green, blue = image.float().unbind(1)
        zero = torch.zeros_like(red)
        yellow_mass = (torch.minimum(red, green) - blue).maximum(zero)
        red_mass = (red - torch.maximum(green, blue)).maximum(zero)
        blue_mass = (blue - torch.maximum(red, green)).maximum(zero)
        size = image.shape[-1]
        columns = torch.arange(size).expand(size, size)
        middle = _mean(yellow_mass, columns)
        right_of = columns[None] > middle[:, None, None]
        masses = [yellow_mass, red_mass * right_of, red_mass * ~right_of]
        masses += [blue_mass * right_of, blue_mass * ~right_of]
        stacked = torch.stack(masses, 1)
        xy = torch.stack([_mean(stacked, columns), _mean(stacked, columns.T)], -1)
        maps = heatmap.encode((xy + 0.5) / STRIDE - 0.5, size // STRIDE, size // STRIDE, 1.5)
        there = (stacked.sum((-1, -2)) > 255)[..., None, None]
        return [maps * 0.1, maps * there]


def _mean(mass: Tensor, of: Tensor) -> Tensor:
    mass = mass.double()
    total: Tensor = (mass * of).sum((-1, -2)) / mass.sum((-1, -2)).clamp_min(1)
    return total


def facts(skeleton: Skeleton = DOTS, input_px: int = 256) -> WeightFacts:
    return WeightFacts(
        name="dots",
        network=NetworkRecipe(stacks=2, features=16, depth=2),
        skeleton=skeleton,
        input_px=input_px,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        sigma_hm=1.5,
    )


def finder(flip_test: bool = True, batch_size: int | None = None) -> tuple[Predictor, DotFinder]:
    predictor = Predictor(DotFinder(), facts(), "cpu", "fp32", flip_test, batch_size)
    assert isinstance(predictor.network, DotFinder)  # its own, made ready to run
    return predictor, predictor.network


def person(x: float, y: float, size: float) -> Points:
    """(5, 2) truth: a person of a given height, lopsided, so that no mirroring hides."""
    shape = np.array([[0.05, -0.5], [0.4, -0.1], [-0.33, 0.08], [0.2, 0.5], [-0.28, 0.43]])
    return np.array([x, y]) + size * shape


def paint(people: list[Points], height: int, width: int, radius: float = 5.0) -> Picture:
    image = np.full((height, width, 3), 90, np.uint8)
    for points in people:
        for (x, y), colour in zip(points, COLOURS, strict=True):
            centre = (round(x * 16), round(y * 16))
            cv2.circle(image, centre, round(radius * 16), colour, cv2.FILLED, cv2.LINE_AA, 4)
    return image


def box_of(points: Points) -> list[float]:
    low, high = points.min(axis=0), points.max(axis=0)
    return [*(low + 0.5).tolist(), *(high - low).tolist()]


@pytest.mark.parametrize("flip_test", [False, True])
def test_boxes_lead_to_each_person_in_picture_pixels(flip_test: bool) -> None:
    truths = [person(150.3, 160.7, 150), person(420.2, 210.4, 230)]
    image = paint(truths, 400, 600)
    predictor, _ = finder(flip_test)
    # A second person in the crop would confuse the finder, so each is alone in its picture.
    for truth in truths:
        (pose,) = predictor(paint([truth], 400, 600), boxes=box_of(truth))
        # A heatmap cell is side / 64 pixels, 3 to 5 here.
        assert np.abs(pose.keypoints - truth).max() < 0.4
        assert pose.scores.min() > 0.8
        assert pose.skeleton is DOTS
    poses = predictor(image, boxes=[box_of(t) for t in truths])
    assert len(poses) == 2


def test_a_crop_is_a_square_of_the_boxs_longer_side_times_the_margin() -> None:
    predictor, _ = finder()
    truth = person(300, 200, 160)
    (pose,) = predictor(paint([truth], 400, 600), boxes=[[200, 100, 160, 200]])
    np.testing.assert_allclose(pose.box, [280 - 125, 200 - 125, 250, 250])


def test_without_a_box_a_small_person_is_found_and_zoomed_in_on() -> None:
    truth = person(470.6, 300.2, 120)
    predictor, network = finder()
    (pose,) = predictor(paint([truth], 500, 700, radius=6))
    assert network.passes <= module.MAX_PASSES
    assert pose.box[2] == pytest.approx(1.25 * 120, rel=0.05)
    assert np.abs(pose.keypoints - truth).max() < 0.4


def test_a_whole_picture_that_is_the_person_already_needs_no_more_passes() -> None:
    truth = person(199.5, 199.5, 320)
    truth[:, 1] = np.clip(truth[:, 1], 40, 360)
    truth[:, 0] += 199.5 - (truth[:, 0].min() + truth[:, 0].max()) / 2
    predictor, network = finder()
    (pose,) = predictor(paint([truth], 400, 400))
    assert network.passes == 1
    np.testing.assert_allclose(pose.box, [0, 0, 400, 400])


def test_refinement_stops_at_three_passes_and_keeps_the_best() -> None:
    class Restless(nn.Module):
        """Its joints always span half the crop, so no crop ever settles; each answer scores lower."""

        output = "heatmap"
        passes = 0

        def forward(self, image: Tensor) -> list[Tensor]:
            self.passes += 1
            xy = torch.tensor([[16.0, 16], [48, 48], [16, 48], [48, 16], [32, 32]]).expand(len(image), 5, 2)
            return [heatmap.encode(xy, 64, 64, 1.5) * (1 - 0.2 * self.passes)]

    predictor = Predictor(Restless(), facts(), "cpu", "fp32", flip_test=False)
    (pose,) = predictor(np.zeros((300, 200, 3), np.uint8))
    assert isinstance(predictor.network, Restless)
    assert predictor.network.passes == module.MAX_PASSES == 3
    assert pose.score == pytest.approx(0.8, abs=1e-3)
    np.testing.assert_allclose(pose.box, [-50, 0, 300, 300])


def test_joints_that_are_not_seen_leave_the_crop_alone() -> None:
    predictor, network = finder()
    (pose,) = predictor(np.full((100, 160, 3), 90, np.uint8))
    assert network.passes == 1
    assert pose.score == 0.0


def test_a_list_gives_lists_in_order_and_shares_batches() -> None:
    truths = [person(100 + 7 * i, 120 + 5 * i, 120 + 4 * i) for i in range(5)]
    images = [paint([t], 260, 260) for t in truths]
    predictor, network = finder(flip_test=False, batch_size=3)
    answers = predictor(images, boxes=[box_of(t) for t in truths])
    assert network.batches == [3, 2]
    assert [len(a) for a in answers] == [1] * 5
    for (pose,), truth in zip(answers, truths, strict=True):
        assert np.abs(pose.keypoints - truth).max() < 0.4
    mixed = predictor(images[:3], boxes=[[], None, [box_of(truths[2])] * 2])
    assert [len(a) for a in mixed] == [0, 1, 2]


def test_one_at_a_time_and_together_agree() -> None:
    truths = [person(100, 120, 120), person(150, 130, 90)]
    images = [paint([t], 260, 300) for t in truths]
    together = finder()[0](images)
    for image, (pose,) in zip(images, together, strict=True):
        (alone,) = finder()[0](image)
        np.testing.assert_allclose(alone.keypoints, pose.keypoints, atol=1e-3)


@pytest.mark.parametrize("kind", ["bgr", "rgba", "float", "uint16", "bgra"])
def test_every_kind_of_array_gives_the_same_joints(kind: str) -> None:
    truth = person(150, 140, 150)
    rgb = paint([truth], 300, 300)
    alpha = np.full((300, 300, 1), 255, np.uint8)
    arrays = {
        "bgr": rgb[..., ::-1],
        "rgba": np.dstack([rgb, alpha]),
        "bgra": np.dstack([rgb[..., ::-1], alpha]),
        "float": rgb.astype(np.float32) / 255,
        "uint16": rgb.astype(np.uint16) * 257,
    }
    predictor, _ = finder()
    (expected,) = predictor(rgb, boxes=box_of(truth))
    (pose,) = predictor(arrays[kind], boxes=box_of(truth), bgr=kind.startswith("bgr"))
    np.testing.assert_array_equal(pose.keypoints, expected.keypoints)
    assert pose.image_id is None


def test_a_file_turned_by_exif_is_answered_as_it_is_shown(tmp_path: Path) -> None:
    truth = person(180, 150, 180)
    shown = paint([truth], 300, 400)
    exif = Image.Exif()
    exif[0x0112] = 6  # show turned 90 degrees clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(shown)).save(path, exif=exif)
    (pose,) = finder()[0](path)
    assert pose.image_id == "turned.png"
    assert np.abs(pose.keypoints - truth).max() < 0.5


def test_covariances_come_in_the_pictures_own_pixels() -> None:
    predictor, _ = finder()
    truth = person(150.3, 160.7, 150)
    (pose,) = predictor(paint([truth], 400, 600), boxes=box_of(truth))
    assert pose.covariances is not None
    # A perfect map spreads by its target's 1.5 cells; a cell is a 64th of the square.
    cell_px = float(pose.box[2]) / 64
    expected = (1.5 * cell_px) ** 2 * np.eye(2)
    np.testing.assert_allclose(pose.covariances, np.broadcast_to(expected, (5, 2, 2)), rtol=0.05, atol=1.5)
    twice = truth * 2 + 0.5
    (large,) = predictor(paint([twice], 800, 1200, radius=10), boxes=box_of(twice))
    assert large.covariances is not None
    np.testing.assert_allclose(large.covariances, 4 * pose.covariances, rtol=0.1, atol=6)


def test_confidences_are_what_the_weights_calibration_says() -> None:
    calibration = Calibration((0.5,) * 5, (0.1, 0.2, 0.3, 0.4, 0.5), "right", "dots", 7)
    calibrated = replace(facts(), calibration=calibration)
    truth = person(150.3, 160.7, 150)
    image = paint([truth], 400, 600)
    (pose,) = Predictor(DotFinder(), calibrated, "cpu", "fp32")(image, boxes=box_of(truth))
    assert pose.confidences is not None
    np.testing.assert_array_equal(pose.confidences, calibration(pose.scores))
    (bare,) = finder()[0](image, boxes=box_of(truth))
    assert bare.confidences is None
    np.testing.assert_array_equal(bare.scores, pose.scores)


def test_a_huge_picture_is_answered_in_its_own_pixels() -> None:
    truth = person(5200.5, 3100.5, 2400)
    (pose,) = finder()[0](paint([truth], 6000, 9000, radius=80))
    assert np.abs(pose.keypoints - truth).max() < 2.4


def test_heatmaps_are_kept_only_when_asked() -> None:
    truth = person(150, 140, 150)
    image = paint([truth], 300, 300)
    predictor, _ = finder()
    assert predictor(image)[0].heatmaps is None
    (pose,) = predictor(image, boxes=box_of(truth), keep_heatmaps=True)
    assert pose.heatmaps is not None
    assert pose.crop is not None
    assert [stage.shape for stage in pose.heatmaps] == [(5, 64, 64)] * 2
    assert pose.crop.shape == (256, 256, 3)
    # The head's peak lies where the crop is yellow.
    row, column = np.unravel_index(int(pose.heatmaps[-1][0].argmax()), (64, 64))
    patch = pose.crop[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((0, 1))
    assert patch[0] > 180 > 90 > patch[2]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([700, 10, 50, 50], "the box 700,10,50,50 lies outside the picture of 300 x 200 px"),
        ([10, 10, 0, 50], "positive width and height"),
        ([10, 10, float("nan"), 50], "not finite"),
        ([[10, 10, 50]], r"shape \(N, 4\)"),
        ([["a", 1, 2, 3]], "four numbers"),
    ],
)
def test_a_box_that_makes_no_crop_is_refused(boxes: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finder()[0](np.zeros((200, 300, 3), np.uint8), boxes=boxes)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        finder()[0]([path])
    with pytest.raises(ValueError, match="2 pictures came with 1 lists"):
        finder()[0]([path, path], boxes=[None])


def test_unknown_devices_and_precisions_are_refused() -> None:
    network = DotFinder()
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N, got 'fpga'"):
        Predictor(network, facts(), device="fpga")
    with pytest.raises(ValueError, match="no CUDA device 'cuda:99'"):
        Predictor(network, facts(), device="cuda:99")
    with pytest.raises(ValueError, match="'fp8' is not one of"):
        Predictor(network, facts(), "cpu", "fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize(("there", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_is_bf16_only_where_the_processor_has_it(
    there: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there)
    assert Predictor(DotFinder(), facts(), "cpu").precision == expected
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert Predictor(DotFinder(), facts(), "cpu").precision == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pretrained_weights_answer_like_the_network_that_was_saved(
    tmp_path: Path, precision: Precision
) -> None:
    torch.manual_seed(0)
    known = facts(input_px=64)
    network = build_network(known.network, DOTS)
    save_weights(tmp_path / "tiny.safetensors", network.state_dict(), known, half=False)
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    loaded = Predictor.from_pretrained(tmp_path, "cpu", precision)
    assert loaded.skeleton == DOTS
    assert not loaded.network.training
    (ours,) = loaded(image, boxes=[0, 0, 70, 90])
    (expected,) = Predictor(network, known, "cpu", precision)(image, boxes=[0, 0, 70, 90])
    np.testing.assert_allclose(ours.keypoints, expected.keypoints, atol=1e-3)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights 'nowhere'"):
        Predictor.from_pretrained("nowhere")
    (tmp_path / "odd.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        Predictor.from_pretrained(tmp_path / "odd.safetensors")
