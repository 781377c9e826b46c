"""Converted weights on the command line: a rendered photo's joints are those of the source's own network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hourglass.core.skeleton import MPII16
from hourglass.synthetic.render import render
from weights.convert.checks import answers_as, joints_of

SOURCES = ("anibali", "bearpaw", "mmpose", "princeton")


def network(others: SimpleNamespace, source: str, image: Tensor) -> tuple[dict[str, Any], Tensor]:
    """A project's checkpoint, and its own answer to a picture (3, H, W) uint8."""
    x = image[None].float() / 255
    if source == "mmpose":
        state = others.mmpose(others.Writer())
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        x = (x * 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        return {"meta": {}, "state_dict": state}, others.mmpose_forward(state, x)[-1][0]
    if source == "princeton":
        state = others.princeton(others.Writer(), depth=2)
        wrapped = {f"model.module.{key}": value for key, value in state.items()}
        return {"state_dict": wrapped, "epoch": 3}, others.princeton_forward(state, x, depth=2)[-1][0]
    state = others.bearpaw(others.Writer(counters=source == "bearpaw"), depth=2)
    answer = others.bearpaw_forward(
        state, x - torch.tensor([0.4404, 0.4440, 0.4327]).view(1, 3, 1, 1), depth=2
    )[-1][0]
    if source == "anibali":
        return state, answer
    return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, answer


@pytest.mark.parametrize("source", SOURCES)
def test_a_photos_joints_are_the_sources(others: SimpleNamespace, tmp_path: Path, source: str) -> None:
    side = 128 if source == "mmpose" else 64
    image = render(3, MPII16, side, side).image
    content, answer = network(others, source, torch.from_numpy(image).permute(2, 0, 1))
    torch.save(content, tmp_path / "checkpoint.pth")
    answers_as(tmp_path / "checkpoint.pth", source, joints_of(answer, source == "mmpose"), image)
