"""One optimiser step as the device sees it: nothing is read back, and micro-batches add up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import Batch, PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import loop
from hourglass.training.setup import launch, plan_run
from hourglass.training.state import Trainer, set_up
from hourglass.training.step import Meter, train_step

TINY = [
    "network.features=8",
    "network.depth=2",
    "data.input_px=32",
    "train.batch_size=4",
    "train.length.steps=20",
    "train.precision=fp32",
    "augment.noise=0.05",
    "augment.erase=0.5",
]

READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero")
"""How a program waits for a device."""


def begin(*more: str) -> tuple[Trainer, TrainingCrops]:
    rule = recipe(*more)
    fabric = launch(rule, "cpu", "1")
    trainer = set_up(fabric, rule, plan_run(rule, 24), LSP14, Path("nowhere"), "test")
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    records = [
        PersonRecord(
            b"", str(i), i, LSP14, rng.uniform(10, 70, (14, 2)).astype(np.float32), np.full(14, 2, np.uint8),
            np.array([40, 40], np.float32), 60.0,
        )
        for i in range(24)
    ]  # fmt: skip
    return trainer, TrainingCrops(records, rule.data.input_px, rule.augment, 0, [picture] * 24)


def recipe(*more: str) -> Recipe:
    return load_recipe(bundled_recipes()["synthetic_tiny"], [*TINY, *more])


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(Tensor, name)

        def read(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            reads.append(name)
            return real(self, *args, **kwargs)

        return read

    for name in READS:
        monkeypatch.setattr(Tensor, name, noting(name))
    return reads


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["train.augment_on=device"],
        ["train.accumulate=2", "train.checkpoint_hourglasses=true"],
        ["target.adaptive=half_linear"],
        ["optimiser.name=rmsprop", "optimiser.weight_decay=0", "optimiser.clip_norm=0"],
    ],
    ids=["plain", "augmented on the device", "micro-batches", "adaptive", "rmsprop"],
)
def test_nothing_is_read_between_two_log_lines(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, crops = begin(*options)
    batches, meter = loop._batches(trainer, crops), Meter(trainer)
    next(batches)  # starts the threads
    reads = count_reads(monkeypatch)
    for _ in range(3):
        meter.add(*train_step(trainer, [next(batches) for _ in range(trainer.recipe.train.accumulate)]))
        trainer.step += 1
        trainer.ema.update(trainer.step)
    assert reads == []
    row = meter.row()
    assert reads  # the row does read, so reads are seen
    assert row["loss"] == pytest.approx(row["stage_1"] + row["stage_2"])
    batches.close()


class Constant(nn.Module):
    """Maps of one height, to be learnt: without batch-norm, so that micro-batches add up exactly."""

    output, stride = "heatmap", 4

    def __init__(self) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.full((14,), 0.25))

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.height.view(1, 14, 1, 1).expand(len(image), 14, 8, 8) * image[:, :1, ::4, ::4] / 255]


def random_batch(people: int) -> Batch:
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(0, 256, (people, 3, 32, 32), generator=generator).byte()
    weight = (torch.rand(people, 14, generator=generator) > 0.4).float()
    return Batch(image, 32 * torch.rand(people, 14, 2, generator=generator), weight)


def part(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.image[rows], batch.keypoints[rows], batch.weight[rows])


def gradient(trainer: Trainer, batches: list[Batch]) -> tuple[Tensor, Tensor, Tensor]:
    fabric: Fabric = trainer.fabric
    network = fabric.setup(Constant())
    trainer.network, found = network, []
    step = trainer.optimiser.step

    def note() -> None:
        found.append(network.module.height.grad.clone())

    trainer.optimiser.step = note  # type: ignore[method-assign,assignment]
    terms, norm = train_step(trainer, batches)
    trainer.optimiser.step = step  # type: ignore[method-assign]
    return found[0], terms, norm


def test_micro_batches_have_the_gradient_of_their_batch() -> None:
    """Also where some of them hold more labelled joints than others."""
    trainer, _ = begin()
    people = random_batch(12)
    whole, terms, norm = gradient(trainer, [people])
    shared, shared_terms, shared_norm = gradient(trainer, [part(people, slice(m, None, 3)) for m in range(3)])
    assert whole.abs().min() > 0
    torch.testing.assert_close(shared, whole)
    torch.testing.assert_close(shared_terms, terms)
    torch.testing.assert_close(shared_norm, norm)


def test_less_is_kept_with_micro_batches() -> None:
    kept = {}
    for accumulate in (1, 2):
        trainer, crops = begin(f"train.accumulate={accumulate}")
        batches = loop._batches(trainer, crops)
        most = now = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal now, most
            now += tensor.nbytes
            most = max(most, now)
            return tensor

        def unpack(tensor: Tensor) -> Tensor:
            nonlocal now
            now -= tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            train_step(trainer, [next(batches) for _ in range(accumulate)])
        kept[accumulate] = most
        batches.close()
    assert kept[2] < 0.7 * kept[1]


def test_the_device_path_trains_on_the_same_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only rounding and pixel noise may tell the two paths apart."""
    found = {}
    for where in ("loader", "device"):
        trainer, crops = begin(f"train.augment_on={where}", "augment.noise=0")
        assert trainer.augments_on_device == (where == "device")
        batch = next(loop._batches(trainer, crops))
        assert isinstance(batch, Batch)
        found[where] = batch
    assert torch.equal(found["loader"].keypoints, found["device"].keypoints)
    assert torch.equal(found["loader"].weight, found["device"].weight)
    off = (found["loader"].image.float() - found["device"].image.float()).abs()
    assert off.median() < 2
    trainer, _ = begin()
    assert not trainer.augments_on_device  # auto, and this is a CPU
