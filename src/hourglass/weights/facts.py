"""What weights say of themselves: everything that prediction needs beside the numbers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import DECODINGS, Decoding
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.calibration import Calibration


class WeightsError(ValueError):
    """A weight file or checkpoint that can't be used; the message names it."""


@dataclass(frozen=True)
class WeightFacts:
    """What must travel with weights so that a photo becomes joints without another file.

    Args:
        name: what to call these weights.
        network: how to build the network.
        skeleton: names the heatmaps.
        input_px: side of the square crop the network was trained on.
        mean, std: of RGB in 0..1.
        sigma_hm: standard deviation of the target Gaussian in cells.
        decoding: how to read a heatmap.
        box_margin: side of the training crop over the longer side of the box around the joints.
        licence, data, recipe: terms, training data, and the complete recipe as YAML.
        signed: an occluded joint is a negative Gaussian.
        offset_hm: added to both coordinates of a decoded cell to get to this package's frame. 0 unless the
            weights were trained elsewhere in another one, such as cell = pixel / 4, which needs -0.375.
        source: project and file that converted weights come from.
        metrics: measured scores, `{"PCK@0.2": ...}`, with `on` saying on what.
        calibration: how the scores of these weights, all stacks and with a flip test, become confidences;
            None where that was not measured (`hourglass calibrate`).

    Raises ValueError when the calibration is of another number of joints than the skeleton.
    """

    name: str
    network: NetworkRecipe
    skeleton: Skeleton
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sigma_hm: float = 1.0
    decoding: Decoding = "dark"
    box_margin: float = 1.25
    licence: str = ""
    data: str = ""
    recipe: str = ""
    signed: bool = False
    offset_hm: float = 0.0
    source: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.calibration is not None and len(self.calibration.temperatures) != len(self.skeleton):
            raise ValueError(
                f"the calibration is of {len(self.calibration.temperatures)} joints, but the skeleton "
                f"{self.skeleton.name!r} has {len(self.skeleton)}"
            )

    def to_json(self) -> str:
        raw = {**asdict(self), "skeleton": self.skeleton.to_dict(), "metrics": dict(self.metrics)}
        if self.calibration is None:
            del raw["calibration"]
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> "WeightFacts":
        """The inverse of `to_json`; raises ValueError, TypeError or KeyError when it is not one."""
        raw = json.loads(text)
        if raw["decoding"] not in DECODINGS:
            raise ValueError(f"unknown decoding {raw['decoding']!r}")
        if not isinstance(raw.get("signed", False), bool):
            raise ValueError(f"signed is {raw['signed']!r}, neither true nor false")
        offset_hm = raw.get("offset_hm", 0.0)
        if not isinstance(offset_hm, int | float) or not isfinite(offset_hm):
            raise ValueError(f"offset_hm is {offset_hm!r}, no number of cells")
        calibration = raw.get("calibration")
        return cls(
            **{
                **raw,
                "calibration": None if calibration is None else Calibration.from_dict(calibration),
                "network": NetworkRecipe(**raw["network"]),
                "skeleton": Skeleton.from_dict(raw["skeleton"]),
                "mean": tuple(raw["mean"]),
                "std": tuple(raw["std"]),
            }
        )


def check_finds_joints(facts: WeightFacts) -> None:
    """Raise WeightsError for the weights of a people finder."""
    if finds_people(facts):
        raise WeightsError(
            f"{facts.name} finds people, not joints: give it as a detector, and a pose network as weights"
        )


def finds_people(facts: WeightFacts) -> bool:
    """Whether weights find people in whole pictures, and not joints."""
    return facts.network.build == "people_finder"
