"""What runs a network on crops: ONNX Runtime, OpenVINO, or torch for weights of one's own and GPUs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hourglass.engines import onnx_file, openvino_file
from hourglass.engines.entry import Signature
from hourglass.weights.facts import WeightFacts

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""`int8` is OpenVINO's, measured from weights, or that of a file which was exported so."""
Backend = Literal["auto", "torch", "onnxruntime", "openvino"]
Stacks = int | Literal["auto"] | None
"""Of a stacked network: the first so many, all of them (None), or as many as each crop needs."""

Crops = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float32]

START_S = 0.9
"""What it costs to import OpenVINO and to compile a network with it, in seconds (docs/benchmarks.md)."""
SAVED = 0.45
"""The share of ONNX Runtime's time that OpenVINO saves where the processor computes in bf16."""

_WHOLE = ("keypoints", "scores", "confidences", "covariances")
"""Of a file's answers those that are the network's own, not a stage's."""

ALL_STACKS = "an exported file answers with all of its stacks: export one with fewer (--stacks)"


@dataclass(frozen=True, eq=False)
class Stage:
    """One supervised stage's own answer to B crops.

    Args:
        keypoints: (B, J, 2) float32, crop pixels.
        scores: (B, J) float32.
        heatmaps: (B, J, h, w) float32, after the flip test.
    """

    keypoints: Numbers
    scores: Numbers
    heatmaps: Numbers


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of B crops.

    Args:
        keypoints: (B, J, 2) float32, crop pixels.
        scores: (B, J) float32, peak heights; 1 throughout for a network that regresses coordinates.
        confidences: (B, J) float32, the scores as probabilities; None for weights that aren't calibrated.
        covariances: (B, J, 2, 2) float32, crop pixels squared; None for a network of coordinates.
        stages: every supervised stage, the last of which is the answer; empty for a network of coordinates.
    """

    keypoints: Numbers
    scores: Numbers
    confidences: Numbers | None = None
    covariances: Numbers | None = None
    stages: tuple[Stage, ...] = ()


@runtime_checkable
class Runner(Protocol):
    """A network that is ready to answer; calling it is all that `Predictor` does with it.

    `facts` are the weights', `backend` and `precision` say what runs, `heatmaps` whether stages have any, and
    `batch_size` how many crops at once suit it.
    """

    facts: WeightFacts
    heatmaps: bool
    batch_size: int

    @property
    def backend(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        """The answer to crops (B, 3, S, S) uint8 RGB, with a flip test averaged with their mirror images'.

        `every_stage` asks for the stages, too, with their heatmaps.
        """
        ...


class OnnxRunner:
    """An exported ONNX file on ONNX Runtime.

    Args:
        model: the file's bytes, from `onnx_file.read`.
        name: what to call it in messages.
        threads: how many compute; 0 for as many as there are cores.
        cuda: run on the GPU that ONNX Runtime finds.

    Raises EngineError where the runtime can't run it.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        model: bytes,
        facts: WeightFacts,
        signature: Signature,
        name: Path | str,
        threads: int = 0,
        cuda: bool = False,
    ) -> None:
        self.facts, self.precision = facts, "fp32" if signature.precision == "fp16" else signature.precision
        self.heatmaps = signature.output == "heatmap"
        self.batch_size = 64 if cuda else 8
        providers = ("CUDAExecutionProvider", "CPUExecutionProvider") if cuda else ()
        self._session = onnx_file.session(model, name, threads or openvino_file.cores(), providers)
        self._names = [entry.name for entry in self._session.get_outputs()]

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        given = {"image": np.ascontiguousarray(crops), "flip_test": np.array(flip_test)}
        names = [name for name in self._names if every_stage or name in _WHOLE]
        return _answer(dict(zip(names, self._session.run(names, given), strict=True)))


class OpenVinoRunner:
    """An exported file on OpenVINO.

    Args:
        model: an `openvino.Model`, of `openvino_file.read` or `openvino_file.from_onnx`.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the processor computes in it.
        threads: how many compute; 0 for as many as there are cores.
    """

    backend = "openvino"
    batch_size = 8

    def __init__(
        self, model: Any, facts: WeightFacts, signature: Signature, precision: str = "auto", threads: int = 0
    ) -> None:
        self.facts = facts
        self.heatmaps = signature.output == "heatmap"
        asked = "bf16" if precision in ("auto", "int8") and openvino_file.computes_bf16() else precision
        self._run = openvino_file.Compiled(model, asked, threads or openvino_file.cores())
        self.precision = "int8" if signature.precision == "int8" else self._run.precision

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        return _answer(self._run(np.ascontiguousarray(crops), flip_test))


class AutoRunner:
    """ONNX Runtime, which starts at once, until OpenVINO would save more than it takes to start.

    That depends on how much is left to do. Where nobody says how much, it changes over when as much has been
    lost as OpenVINO takes to start, so that it never loses more than twice that. Measured as it runs.

    Args:
        model, facts, signature, name, threads: as for `OnnxRunner`.
        crops: how many will come in all, with mirror images; None where nobody knows.
    """

    batch_size = 8

    def __init__(
        self,
        model: bytes,
        facts: WeightFacts,
        signature: Signature,
        name: Path | str,
        threads: int,
        crops: int | None,
    ) -> None:
        self.facts, self.heatmaps = facts, signature.output == "heatmap"
        self._parts = model, facts, signature, name, threads
        self._left = crops
        self._spent_s = 0.0
        self._done = 0
        self._runner: OnnxRunner | OpenVinoRunner = OnnxRunner(*self._parts)

    @property
    def backend(self) -> str:
        return self._runner.backend

    @property
    def precision(self) -> str:
        return self._runner.precision

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        if isinstance(self._runner, OpenVinoRunner):
            return self._runner(crops, flip_test, every_stage)
        if self._pays():
            model, facts, signature, name, threads = self._parts
            self._runner = OpenVinoRunner(
                openvino_file.from_onnx(model, str(name)), facts, signature, threads=threads
            )
            return self._runner(crops, flip_test, every_stage)
        began = time.perf_counter()
        answer = self._runner(crops, flip_test, every_stage)
        self._spent_s += time.perf_counter() - began
        self._done += len(crops) * (2 if flip_test else 1)
        return answer

    def _pays(self) -> bool:
        if not self._done:
            return False
        if self._left is None:
            return self._spent_s > START_S / SAVED
        return (self._left - self._done) * self._spent_s / self._done * SAVED > START_S


def _answer(found: Mapping[str, Any]) -> Answer:
    """What an exported file says, by the names of `onnx_file`."""
    keypoints, scores = found["keypoints"], found["scores"]
    stages = []
    if "stage_1" in found and "covariances" in found:
        last = sum(name.startswith("stage_") for name in found)
        for i in range(1, last):
            stages.append(Stage(found[f"keypoints_{i}"], found[f"scores_{i}"], found[f"stage_{i}"]))
        stages.append(Stage(keypoints, scores, found[f"stage_{last}"]))
    return Answer(keypoints, scores, found.get("confidences"), found.get("covariances"), tuple(stages))
