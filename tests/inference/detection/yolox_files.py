"""ONNX files with the inputs and outputs of YOLOX detectors, for tests; they know no people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

RED_SIZE_PX = 48.0


def save(path: Path, nodes: Sequence[Any], constants: dict[str, npt.NDArray[np.generic]], px: object) -> Path:
    """A model of `nodes` with the input `images`, and the outputs `dets` and `labels`, or `output`."""
    names = {name for node in nodes for name in node.output}
    outputs = [("output", TensorProto.FLOAT)] if "output" in names else []
    outputs += [("dets", TensorProto.FLOAT)] if "dets" in names else []
    outputs += [("labels", TensorProto.INT64)] if "labels" in names else []
    height, width = px if isinstance(px, tuple) else (px, px)
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def grid_file(
    path: Path,
    height: int,
    width: int,
    weights: npt.NDArray[np.float32],
    biases: npt.NDArray[np.float32],
    strides: Sequence[int] = (8, 16, 32),
) -> Path:
    """One output (1, N, 5 + classes), as YOLOX's exporter gives it: a row for each cell of each grid.

    A row is a linear function, `weights` (5 + classes, 3) and `biases` of each stride, of its cell's mean
    colour in BGR; objectness and classes are probabilities of it.
    """
    columns = weights.shape[0]
    constants: dict[str, npt.NDArray[np.generic]] = {
        "weights": weights[:, :, None, None],
        "flat": np.array([1, columns, -1]),
        **{f"bias{i}": bias for i, bias in enumerate(biases)},
    }
    nodes = []
    for i, stride in enumerate(strides):
        side = [stride, stride]
        nodes += [
            helper.make_node("AveragePool", ["images"], [f"mean{i}"], kernel_shape=side, strides=side),
            helper.make_node("Conv", [f"mean{i}", "weights", f"bias{i}"], [f"map{i}"], kernel_shape=[1, 1]),
            helper.make_node("Reshape", [f"map{i}", "flat"], [f"flat{i}"]),
        ]
    constants["parts"] = np.array([4, columns - 4])
    nodes += [
        helper.make_node("Concat", [f"flat{i}" for i in range(len(strides))], ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Split", ["rows", "parts"], ["boxes", "odds"], axis=2),
        helper.make_node("Sigmoid", ["odds"], ["shares"]),
        helper.make_node("Concat", ["boxes", "shares"], ["output"], axis=2),
    ]
    return save(path, nodes, constants, (height, width))


def random_grid_file(
    path: Path, height: int, width: int, seed: int = 0, strides: tuple[int, ...] = (8, 16, 32)
) -> Path:
    """A grid file with random weights: dozens of boxes of all sizes, many on one another."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.012, (85, 3)).astype(np.float32)
    # On a medium grey.
    middle = np.concatenate([[0.5, 0.5, 0.8, 1.2, 0.6, 0.6], np.zeros(79)]).astype(np.float32)
    biases = rng.normal(0, 0.1, (len(strides), 85)).astype(np.float32) + middle - 127 * weights.sum(1)
    return grid_file(path, height, width, weights, biases, strides)


def red_finder(path: Path, px: int = 256) -> Path:
    """Finds red: a box of `RED_SIZE_PX` in the network's pixels around each cell of 32 px that is all red."""
    weights = np.zeros((85, 3), np.float32)
    weights[4] = (-0.1, -0.1, 0.2)
    biases = np.zeros((3, 85), np.float32)
    biases[:, 0:2] = 0.5
    biases[:, 2:4] = np.log(RED_SIZE_PX / 32)
    biases[:, 4] = (-100, -100, -40)
    biases[:, 5] = 8
    biases[:, 6:] = -8
    return grid_file(path, px, px, weights, biases)


def finished_file(
    path: Path, dets: Sequence[Sequence[float]], labels: Sequence[int] | None, px: object = 640
) -> Path:
    """A file as MMDeploy exports it: `dets` (1, N, 5) with corners and scores, and `labels` (1, N)."""
    constants: dict[str, npt.NDArray[np.generic]] = {"d": np.array(dets, np.float32).reshape(1, -1, 5)}
    nodes = [helper.make_node("Identity", ["d"], ["dets"])]
    if labels is not None:
        constants["l"] = np.array(labels, np.int64).reshape(1, -1)
        nodes.append(helper.make_node("Identity", ["l"], ["labels"]))
    return save(path, nodes, constants, px)
