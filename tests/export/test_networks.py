"""Every network as every kind of file, with every decoding in the graph: minutes, so by `make test-slow`."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import Decoding
from hourglass.export.parity import FP32, compare, misses
from hourglass.export.people import People
from hourglass.export.write import SUFFIXES, Target, write
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import load_network
from plain_layers import live_statistics

NETWORKS: dict[str, tuple[NetworkRecipe, Decoding]] = {
    "eccv": (NetworkRecipe(stacks=3, features=8, depth=2), "dark"),
    "eccv wide": (NetworkRecipe(stacks=1, features=8, depth=2, blocks=2, stem="wide"), "quarter"),
    "workshop": (NetworkRecipe("workshop", stacks=2, features=8, depth=2), "soft"),
    "hg": (NetworkRecipe("hg", features=8, depth=2), "argmax"),
    "hg_int": (NetworkRecipe("hg_int", features=8, depth=3), "dark"),
    "hg_stacked": (NetworkRecipe("hg_stacked", features=8, depth=2), "quarter"),
    "hg_stacked_int": (NetworkRecipe("hg_stacked_int", features=8, depth=2), "soft"),
    "hg_stacked_add": (NetworkRecipe("hg_stacked_add", features=8, depth=2), "argmax"),
    "mssh": (NetworkRecipe("mssh", stacks=3, features=8, depth=2, unit="inception_a"), "dark"),
    "residual_stacked": (NetworkRecipe("residual_stacked", stacks=3, features=8, depth=2, blocks=2), "soft"),
    "cornernet": (NetworkRecipe("cornernet", stacks=2, features=8, depth=2), "quarter"),
    "deeppose": (NetworkRecipe("deeppose", backbone="alexnet", width=2, view_px=64, dropout=0.0), "dark"),
    "deeppose resnet": (NetworkRecipe("deeppose", stacks=3, width=2, view_px=32, dropout=0.0), "dark"),
    "chained": (NetworkRecipe("chained", width=2, hidden=4), "dark"),
    "chained raw": (NetworkRecipe("chained", width=2, hidden=4, feedback="raw"), "argmax"),
}
SIDE = 64
REFUSED: dict[tuple[str, str], str] = {}


@pytest.mark.slow
@pytest.mark.parametrize("to", SUFFIXES)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_answers_as_torch_does(name: str, to: Target, tmp_path: Path) -> None:
    for package in {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}.get(to, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    recipe, decoding = NETWORKS[name]
    torch.manual_seed(0)
    network = build_network(recipe, LSP14).eval().requires_grad_(False)
    live_statistics(network)
    facts = WeightFacts(
        name, recipe, LSP14, SIDE, (0.0,) * 3, (1.0,) * 3, 1.5, decoding, signed=decoding == "quarter"
    )
    coarse = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    crops = (interpolate(coarse, (SIDE, SIDE), mode="bilinear") * 255).to(torch.uint8)
    people = People(
        crops.permute(0, 2, 3, 1).contiguous().numpy(), (), coarse[:, 0, 0, 0].double().numpy(), "noise"
    )
    path = tmp_path / f"file{SUFFIXES[to]}"
    if (name, to) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, to]):
            write(network, facts, to, path, decode_in_graph=True)
        return
    write(network, facts, to, path, decode_in_graph=True)
    parity = compare(network, load_network(path)[0], facts, people, FP32)
    assert misses(parity, FP32) == []
    assert parity.undecided <= parity.joints / 10
