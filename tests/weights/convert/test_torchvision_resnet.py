"""Torchvision's ResNets as encoders: a classifier with its key names, written out here, of random weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.models.deeppose import DeepPose
from hourglass.models.layers import ResNetEncoder
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import bundled_recipes, load_recipe
from hourglass.training.state import _first_network
from hourglass.weights.convert.torchvision_resnet import depth_of, encoder_state
from hourglass.weights.facts import WeightsError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Block(nn.Module):
    """Torchvision's BasicBlock, or its Bottleneck with the stride in the 3x3 convolution."""

    def __init__(self, features_in: int, features: int, stride: int, deep: bool) -> None:
        super().__init__()
        out = 4 * features if deep else features
        sizes = [(features_in, features, 1, 1), (features, features, 3, stride), (features, out, 1, 1)]
        if not deep:
            sizes = [(features_in, features, 3, stride), (features, features, 3, 1)]
        self.count = len(sizes)
        for i, (before, after, kernel, step) in enumerate(sizes, 1):
            conv = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride > 1 or features_in != out:
            skip = nn.Conv2d(features_in, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        skip = x if self.downsample is None else self.downsample(x)
        return (y + skip).relu()


class Classifier(nn.Module):
    def __init__(self, depth: int, width: int, classes: int = 10) -> None:
        super().__init__()
        deep = depth >= 50
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        reached = width
        for stage, count in enumerate(BLOCKS[depth]):
            blocks = []
            for i in range(count):
                blocks.append(Block(reached, width * 2**stage, 2 if stage and not i else 1, deep))
                reached = width * 2**stage * (4 if deep else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(reached, classes)

    def features(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x


def classifier(depth: int, width: int = 4) -> Classifier:
    torch.manual_seed(depth)
    net = Classifier(depth, width).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.ndim == 1 and tensor.is_floating_point():
                low, high = (-0.2, 0.2) if name.endswith(("bias", "running_mean")) else (0.5, 1.5)
                tensor.uniform_(low, high)
    return net


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("depth", [34, 50, 101])
@pytest.mark.parametrize("counted", [True, False], ids=["with counters", "before torch 0.4.1"])
def test_features_are_the_classifiers(depth: int, counted: bool, tmp_path: Path) -> None:
    theirs = classifier(depth).double()
    state = {k: v for k, v in theirs.state_dict().items() if counted or "num_batches" not in k}
    found = encoder_state(saved(tmp_path / "net.pth", state), depth, 4)
    ours = ResNetEncoder(depth, 4).eval()
    ours.load_state_dict(found)
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = theirs.features(image)
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours.double()(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", BLOCKS)
def test_a_file_of_another_depth_is_named(depth: int, tmp_path: Path) -> None:
    with torch.device("meta"):
        assert depth_of(Classifier(depth, 64).state_dict()) == depth
    path = saved(tmp_path / "mine.pth", classifier(depth, 1).state_dict())
    asked = 50 if depth == 34 else 34
    message = rf"mine\.pth holds a ResNet-{depth}, but the network's encoder is a ResNet-{asked}$"
    with pytest.raises(WeightsError, match=message):
        encoder_state(path, asked, 1)


def test_files_that_are_no_such_network_are_refused(tmp_path: Path) -> None:
    state = classifier(34).state_dict()
    for change, message in (
        ({"layer2.0.downsample.0.weight": None}, r"has no layer2\.0\.downsample\.0\.weight"),
        (
            {"layer1.0.conv1.weight": torch.zeros(4, 5, 3, 3)},
            r"layer1\.0\.conv1\.weight has the shape 4 x 5 x 3 x 3, expected was 4 x 4 x 3 x 3",
        ),
        ({"bn1.weight": torch.full((4,), torch.nan)}, r"bn1\.weight holds numbers that are not finite"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        with pytest.raises(WeightsError, match=message):
            encoder_state(saved(tmp_path / "net.pth", changed), 34, 4)
    with pytest.raises(WeightsError, match=r"net\.pth holds no ResNet of torchvision's"):
        encoder_state(saved(tmp_path / "net.pth", {"features.0.weight": torch.zeros(1)}), 34)
    torch.save(classifier(34), tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"code\.pth"):
        encoder_state(tmp_path / "code.pth", 34, 4)


OPTIONS = ["network.features=256", "network.depth=4", "target.peak_weight=0", "network.width=4"]
DEEPPOSE = ["network.build=deeppose", "network.stacks=2", "network.view_px=64", "target.loss=coordinates"]


@pytest.mark.parametrize("build", ["deeppose", "chained"])
def test_training_starts_from_it(build: str, tmp_path: Path) -> None:
    theirs = classifier(34)
    path = saved(tmp_path / "net.pth", theirs.state_dict())
    keys = DEEPPOSE if build == "deeppose" else ["network.build=chained", "target.loss=cross_entropy"]
    recipe = load_recipe(
        bundled_recipes()["synthetic_tiny"], [*OPTIONS, *keys, "network.stacks=2", f"train.encoder={path}"]
    )
    network = _first_network(recipe, LSP14)
    encoders = [m for m in network.modules() if isinstance(m, ResNetEncoder)]
    assert len(encoders) == (2 if isinstance(network, DeepPose) else 1)
    image = torch.rand(1, 3, 64, 64)
    for encoder in encoders:
        torch.testing.assert_close(encoder.eval()(image), theirs.features(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], r"train\.encoder: is for residual encoders, which network\.build=eccv has none of"),
        (
            [*OPTIONS, *DEEPPOSE, "network.backbone=alexnet"],
            r"train\.encoder: .*network\.build=deeppose has none of with network\.backbone=alexnet",
        ),
        ([*OPTIONS, *DEEPPOSE, "train.init=x"], r"train\.encoder: and train\.init can.t both be given"),
    ],
)
def test_what_an_encoder_does_not_fit_is_refused(keys: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(bundled_recipes()["synthetic_tiny"], [*keys, "train.encoder=net.pth"])
