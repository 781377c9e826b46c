import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from hourglass.inference.detection.yolox import OVERLAP, Yolox, grid, letterbox
from inference.detection.yolox_files import RED_SIZE_PX, finished_file, random_grid_file, red_finder, save

Found = list[tuple[list[float], float]]


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def raw_answer(path: Path, image: npt.NDArray[np.uint8], height: int, width: int) -> tuple[Any, float, float]:
    """What the file itself says of a picture, and by how much that was scaled."""
    ratio = min(height / image.shape[0], width / image.shape[1])
    w, h = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
    view = np.full((height, width, 3), 114, np.float32)
    view[:h, :w] = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (w, h))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return (
        session.run(None, {"images": np.moveaxis(view, 2, 0)[None]})[0][0],
        w / image.shape[1],
        h / image.shape[0],
    )


def overlap(a: list[float], b: list[float]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = w * h if w > 0 and h > 0 else 0.0
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_brute_force(
    path: Path,
    image: npt.NDArray[np.uint8],
    height: int,
    width: int,
    min_score: float,
    strides: tuple[int, ...],
) -> Found:
    """Cell by cell and box by box: corners in the picture's pixels, before they are cut at its edges."""
    rows, scale_x, scale_y = raw_answer(path, image, height, width)
    boxes: Found = []
    n = 0
    for stride in strides:
        for row in range(height // stride):
            for column in range(width // stride):
                dx, dy, log_w, log_h, there, person = (float(v) for v in rows[n][:6])
                n += 1
                if there * person < min_score:
                    continue
                x, y = (column + dx) * stride, (row + dy) * stride
                w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                boxes.append(([x - w / 2, y - h / 2, x + w / 2, y + h / 2], there * person))
    assert n == len(rows)
    boxes.sort(key=lambda box: -box[1])
    kept: Found = []
    for corners, score in boxes:
        if all(overlap(corners, other) <= OVERLAP for other, _ in kept):
            kept.append((corners, score))
    return [([c[0] / scale_x, c[1] / scale_y, c[2] / scale_x, c[3] / scale_y], s) for c, s in kept]


@pytest.mark.parametrize(
    ("height", "width", "strides", "shape"),
    [
        (256, 256, (8, 16, 32), (300, 500)),
        (256, 384, (8, 16, 32), (700, 333)),
        (128, 128, (8, 16, 32, 64), (64, 40)),
    ],
)
def test_a_grid_is_decoded_as_by_hand(
    tmp_path: Path, height: int, width: int, strides: tuple[int, ...], shape: tuple[int, int]
) -> None:
    path = random_grid_file(tmp_path / "yolox.onnx", height, width, seed=len(strides), strides=strides)
    image = picture(*shape)
    expected = by_brute_force(path, image, height, width, 0.5, strides)
    boxes, scores = Yolox(path, 0.5)(image)
    cut = [[max(c[0], 0), max(c[1], 0), min(c[2], shape[1]), min(c[3], shape[0])] for c, _ in expected]
    inside = [i for i, c in enumerate(cut) if c[2] - c[0] >= 1 and c[3] - c[1] >= 1]
    assert 20 < len(expected) < 1000
    np.testing.assert_allclose(boxes[:, :2], [cut[i][:2] for i in inside], atol=2e-2)
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], [cut[i][2:] for i in inside], atol=2e-2)
    np.testing.assert_allclose(scores, [expected[i][1] for i in inside], rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 512), (160, 640), (640, 160), (64, 32)])
def test_a_red_square_is_found_where_it_is(tmp_path: Path, height: int, width: int) -> None:
    """Also tells red from blue, and the scale of a picture that is shrunk or enlarged."""
    ratio = 256 / max(height, width)
    image = np.full((height, width, 3), 40, np.uint8)
    side = round(32 / ratio)
    y, x = side * (height // side // 2), side * (width // side // 2)
    image[y : y + side, x : x + side] = (255, 0, 0)
    if width > 3 * side:
        image[0:side, 0:side] = (0, 0, 255)
    boxes, scores = Yolox(red_finder(tmp_path / "red.onnx"), 0.5)(image)
    size = RED_SIZE_PX / ratio
    low = np.maximum([x + side / 2 - size / 2, y + side / 2 - size / 2], 0)
    high = np.minimum([x + side / 2 + size / 2, y + side / 2 + size / 2], [width, height])
    np.testing.assert_allclose(boxes, [[*low, *(high - low)]], atol=0.02)
    assert scores[0] > 0.9


def test_rows_that_are_decoded_in_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = np.zeros((1, 1344, 6), np.float32)
    rows[0, :, :4] = np.random.default_rng(0).uniform(60, 200, (1344, 4))
    rows[0, 7] = (100, 120, 40, 60, 0.5, 0.9)
    from onnx import helper

    nodes = [helper.make_node("Identity", ["r"], ["output"])]
    boxes, scores = Yolox(save(tmp_path / "decoded.onnx", nodes, {"r": rows}, 256))(picture(512, 512))
    np.testing.assert_allclose(boxes, [[160, 180, 80, 120]])
    assert scores == pytest.approx([0.45])


def test_a_finished_file_answers_in_corners(tmp_path: Path) -> None:
    dets = [(10, 20, 50, 100, 0.5), (0, 0, 30, 30, 0.9), (5, 5, 60, 60, 0.95), (5, 5, 60, 60, 0.2)]
    image = picture(320, 640)
    with_labels = Yolox(finished_file(tmp_path / "end2end.onnx", dets, [0, 0, 17, 0], 320))
    boxes, scores = with_labels(image)
    np.testing.assert_allclose(boxes, [[0, 0, 60, 60], [20, 40, 80, 160]])
    np.testing.assert_allclose(scores, [0.9, 0.5], rtol=1e-6)
    boxes, _ = Yolox(finished_file(tmp_path / "one_class.onnx", dets, None, 320))(image)
    assert len(boxes) == 3
    boxes, scores = Yolox(finished_file(tmp_path / "nobody.onnx", [], [], 320))(image)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    # Where the file leaves the size of its input open, it is 640.
    free = Yolox(finished_file(tmp_path / "free.onnx", dets, [0] * 4, ("height", "width")))
    np.testing.assert_allclose(free(image)[0][0], [5, 5, 55, 55])


def test_boxes_end_at_the_picture_and_those_beyond_it_go(tmp_path: Path) -> None:
    dets = [(-20, -10, 700, 90, 0.9), (0, 330, 100, 400, 0.9), (10, 10, 10.2, 90, 0.9)]
    path = finished_file(tmp_path / "end2end.onnx", dets, [0, 0, 0], 640)
    boxes, _ = Yolox(path)(picture(320, 640))
    np.testing.assert_allclose(boxes, [[0, 0, 640, 90]])


def test_the_lowest_score_counts(tmp_path: Path) -> None:
    dets = [(10, 10, 50, 90, score) for score in (0.2, 0.5, 0.8)]
    path = finished_file(tmp_path / "end2end.onnx", dets, [0, 0, 0], 640)
    assert [len(Yolox(path, low)(picture(640, 640))[0]) for low in (0, 0.3, 0.8, 1)] == [3, 2, 1, 0]
    with pytest.raises(ValueError, match=r"lowest score is 1\.5; it must lie between 0 and 1"):
        Yolox(path, 1.5)


def test_a_letterbox_is_the_picture_on_grey() -> None:
    image = picture(100, 200)
    view, scale = letterbox(image, 64, 64)
    assert view.shape == (1, 3, 64, 64)
    assert scale.tolist() == [0.32, 0.32]
    assert (view[0, :, 32:] == 114).all()
    np.testing.assert_array_equal(view[0, 2, :32], cv2.resize(image, (64, 32))[..., 0])
    # A line stays a line.
    assert letterbox(picture(1, 500), 64, 64)[1].tolist() == [0.128, 1]


def test_the_cells_come_row_by_row_and_grid_by_grid() -> None:
    cells, strides = grid(8400, 640, 640)
    assert cells[[0, 1, 80, 6399, 6400, 8000, 8399]].tolist() == [
        [0, 0], [1, 0], [0, 1], [79, 79], [0, 0], [0, 0], [19, 19],
    ]  # fmt: skip
    assert strides[[0, 6399, 6400, 8000]].ravel().tolist() == [8, 8, 16, 32]
    assert len(grid(8500, 640, 640)[0]) == 8500
    assert len(grid(8401, 640, 640)[0]) == 0


def test_what_is_no_detector_is_refused_by_name(tmp_path: Path) -> None:
    from onnx import helper

    with pytest.raises(FileNotFoundError, match=r"there is no detector .*none\.onnx"):
        Yolox(tmp_path / "none.onnx")
    (tmp_path / "odd.onnx").write_bytes(b"no network")
    with pytest.raises(
        ValueError, match=r"odd\.onnx can't be read by ONNX Runtime .* no ONNX file, or damaged"
    ):
        Yolox(tmp_path / "odd.onnx")
    nodes = [helper.make_node("Identity", ["r"], ["output"])]

    def answering(*shape: int) -> Path:
        return save(tmp_path / "other.onnx", nodes, {"r": np.zeros(shape, np.float32)}, 256)

    for shape, message in (
        ((1, 1000), r"it answers \(1, 1000\), not \(1, N, 5 \+ classes\)"),
        ((1, 84, 4), r"it answers \(1, 84, 4\)"),
        ((1, 1000, 85), "it answers 1000 rows, which are not the cells of 256 x 256 px"),
    ):
        with pytest.raises(ValueError, match=rf"other\.onnx is no YOLOX detector: {message}"):
            Yolox(answering(*shape))
    with pytest.raises(ValueError, match=r"it takes tensor\(float\) \[1, 3, 8\], not one picture of floats"):
        Yolox(three_axes(tmp_path / "three.onnx"))
    bad = finished_file(tmp_path / "bad.onnx", [(0, 0, math.inf, 9, 0.9)], [0])
    with pytest.raises(ValueError, match=r"bad\.onnx answered with a box that is not finite"):
        Yolox(bad)


def three_axes(path: Path) -> Path:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 8])
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_crowd_of_candidates_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_grid_file(tmp_path / "yolox.onnx", 256, 256)
    image = picture(256, 256)
    boxes, scores = Yolox(path)(image)
    monkeypatch.setattr("hourglass.inference.detection.yolox._CANDIDATES", 3)
    fewer, best = Yolox(path)(image)
    assert 1 <= len(fewer) <= 3
    np.testing.assert_array_equal(best, scores[: len(best)])
    np.testing.assert_array_equal(fewer, boxes[: len(fewer)])
