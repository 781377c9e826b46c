"""A network's own module as a runner: one's own weights, GPUs, fewer stacks, int8 that is measured here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hourglass.inference.backends import make_runnable
from hourglass.inference.device import choose_device
from hourglass.inference.early_exit import answer_until_settled
from hourglass.inference.forward import CropAnswer, answer_crops, read_stage
from hourglass.inference.runner import Answer, Crops, Stacks, Stage
from hourglass.models.build import channels_last
from hourglass.models.folding import fold_batch_norms
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import load_network

Maps = Callable[[Crops], npt.NDArray[np.float32]]


class TorchRunner:
    """A module, or an exported file as `load_network` gives it, on torch's device.

    Args:
        network: moved to the device and set to evaluation.
        device, precision, backend, stacks, calibration: as for `Predictor`.
        threads: of torch on a CPU; 0 leaves them as they are.

    Raises ValueError as `backends.make_runnable` and `device.choose_device`.
    """

    def __init__(
        self,
        network: nn.Module,
        facts: WeightFacts,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        stacks: Stacks = None,
        calibration: Crops | None = None,
        threads: int = 0,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.device = choose_device(device)
        runnable, self.dtype = make_runnable(
            network, facts, self.device, backend, precision, stacks, calibration
        )
        self.network = channels_last(runnable).to(self.device).eval()
        # Earlier stacks score otherwise than the last one, on which the calibration was fitted.
        self.facts = facts
        self._calibration = facts.calibration if stacks is None else None
        self._until_settled = stacks == "auto"
        self.heatmaps = str(self.network.output) != "coordinates"
        self.batch_size = 8 if self.device.type == "cpu" else 64

    @property
    def backend(self) -> str:
        names = {"OnnxNetwork": "onnxruntime", "OpenVinoNetwork": "openvino"}
        return names.get(type(self.network).__name__, "torch")

    @property
    def precision(self) -> str:
        signature = getattr(self.network, "signature", None)
        if signature is not None and signature.precision == "int8":
            return "int8"
        return str(getattr(self.network, "precision", "bf16" if self.dtype == torch.bfloat16 else "fp32"))

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        batch = torch.from_numpy(crops).to(self.device)
        if self._until_settled:
            found, _ = answer_until_settled(self.network, batch, self.facts, flip_test, self.dtype)
        else:
            found = answer_crops(self.network, batch, self.facts, flip_test, self.dtype)
        return self._in_numpy(found, crops.shape[-1], every_stage)

    def _in_numpy(self, found: CropAnswer, side_px: int, every_stage: bool) -> Answer:
        scores = found.scores.cpu().numpy()
        maps = found.stages if every_stage else ()
        answers = [*(read_stage(stage, self.facts, side_px) for stage in maps[:-1]), found][: len(maps)]
        stages = tuple(
            Stage(one.keypoints.cpu().numpy(), one.scores.cpu().numpy(), heatmaps.cpu().numpy())
            for one, heatmaps in zip(answers, maps, strict=True)
        )
        return Answer(
            found.keypoints.cpu().numpy(),
            scores,
            None if self._calibration is None else self._calibration(scores),
            None if found.covariances is None else found.covariances.cpu().numpy(),
            stages,
        )


def open_torch_runner(
    path: Path,
    device: str,
    precision: str,
    backend: str,
    stacks: Stacks,
    calibration: Crops | None,
    threads: int,
) -> TorchRunner:
    """The runner of a weight file; raises WeightsError, naming it, and as `TorchRunner` does."""
    network, facts = load_network(path)
    return TorchRunner(network, facts, device, precision, backend, stacks, calibration, threads)


def maps_of(network: nn.Module, device: torch.device | str, precision: torch.dtype | None) -> Maps:
    """What `PeopleFinder` asks: a view (1, 3, S, S) uint8 to the last stage's maps (C, h, w), in torch."""
    where = torch.device(device)
    network = network.to(where).eval()

    @torch.inference_mode()
    def maps(view: Crops) -> npt.NDArray[np.float32]:
        crop = torch.from_numpy(view).to(where).contiguous(memory_format=torch.channels_last)
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            found = network(crop)[-1][0].float().cpu().numpy()
        return np.asarray(found, np.float32)

    return maps


def finder_network(path: Path) -> nn.Module:
    """A people finder's module of a weight file, ready to be run; raises WeightsError naming the file."""
    network, _ = load_network(path)
    return channels_last(fold_batch_norms(network))
