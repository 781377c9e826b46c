"""From files to batches on one core: ours, part by part and as a whole, against a plain per-sample loader.

All times are CPU seconds of the process, so that what else runs on the machine counts little; "per core"
means per CPU second. Plain and ours alternate, round after round, and the ratio is taken round by round.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from hourglass.bench.compare import machine
from hourglass.core.arrays import RGB
from hourglass.core.geometry import input_to_heatmap
from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.augment import recolour
from hourglass.data.loading.dataset import TrainingCrops, decode_all, place, read_picture, warp_into
from hourglass.data.loading.loader import collate, training_batches
from hourglass.data.packs.open_pack import load_records, open_set
from hourglass.data.packs.shards import StreamedCrops
from hourglass.data.packs.write_pack import write_pack, write_shards
from hourglass.models import heatmap
from hourglass.recipe.recipe import AugmentRecipe
from hourglass.synthetic.render import render

HEAD = ("what", "samples/s per core", "us per sample", "plain loader: samples/s per core", "ratio (range)")

PHOTO_PX = (720, 1280)
"""Height and width of rendered photos: the commonest of MPII's."""

_MEAN, _STD = np.array([0.4442, 0.4302, 0.4039]), np.array([0.2376, 0.2296, 0.2356])


def benchmark_loading(
    people: Sequence[PersonRecord] | None = None,
    input_px: int = 256,
    batch_size: int = 32,
    rounds: int = 5,
    seconds: float = 1.0,
    photos: str = "",
) -> list[dict[str, Any]]:
    """Rows with `samples_per_s` (per core) and, of whole loaders, `ratio` to the plain one and `ratio_range`.

    Args:
        people: annotated people whose photos are files; None renders 64 on photos of `PHOTO_PX`.
        seconds: CPU time of each measurement in each round.
        photos: what the photos are, in words.

    Raises ValueError when there are fewer people than two batches.
    """
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if people is None:
            people, photos = rendered(folder, max(64, 2 * batch_size)), "rendered photos"
        if len(people) < 2 * batch_size:
            raise ValueError(f"loading is measured on at least {2 * batch_size} people, not {len(people)}")
        augment = AugmentRecipe()
        packs: dict[str, TrainingCrops] = {}
        for codec in ("webp", "jpeg"):
            write_pack({"train": list(people)}, folder / f"{codec}.parquet", codec=codec)
            records = load_records(folder / f"{codec}.parquet")
            packs[codec] = TrainingCrops(records, input_px, augment, 0)
        decoded = TrainingCrops(records, input_px, augment, 0, decode_all(records, 8.0, 1))
        write_shards({"train": list(people)}, folder / "shards.parquet", 4)
        streamed = StreamedCrops(open_set(folder / "shards.index.json"), "train", input_px, augment, 0)
        plain = _plain_batches(PlainDataset(people, input_px, augment), batch_size)
        wholes: dict[str, Iterator[object]] = {
            f"pack, {codec}, decoded each time": training_batches(crops, batch_size, 0, 1)
            for codec, crops in packs.items()
        }
        wholes["shards, jpeg, streamed"] = training_batches(streamed, batch_size, 0, 1)
        wholes["pack, decoded once"] = training_batches(decoded, batch_size, 0, 1)
        wholes["pack, jpeg, with targets"] = _with_targets(training_batches(packs["jpeg"], batch_size, 0, 1))
        facts = {"input_px": input_px, "batch_size": batch_size, "photos": photos, **machine()}
        rows = [row | facts for row in _parts(packs, decoded, batch_size, rounds, seconds)]
        for what, batches in wholes.items():
            ratios = _against(plain, batches, batch_size, rounds, seconds)
            rows.append({"what": what, **ratios, **facts})
            batches.close()  # type: ignore[attr-defined]
    return rows


def numbers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows for people, in the columns of `HEAD`."""
    table: list[tuple[str, ...]] = []
    for row in rows:
        ratio = plain = ""
        if "ratio" in row:
            low, high = row["ratio_range"]
            ratio = f"{row['ratio']:.1f} ({low:.1f} to {high:.1f}, {row['rounds']} rounds)"
            plain = f"{row['plain_samples_per_s']:.0f}"
        rate = row["samples_per_s"]
        table.append((row["what"], f"{rate:.0f}", f"{1e6 / rate:.0f}", plain, ratio))
    return table


def _parts(
    packs: dict[str, TrainingCrops], decoded: TrainingCrops, batch_size: int, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """What each part of a sample takes on its own."""
    count, side = len(decoded), decoded.input_px
    keys = range(count)
    views = [decoded.view(0, i) for i in keys]
    places = [place(decoded.records[i], side, views[i]) for i in keys]
    pictures = [decoded.picture(i)[0] for i in keys]
    out = np.empty((side, side, 3), np.uint8)
    samples = [decoded.get(0, i) for i in range(batch_size)]
    images = np.stack([s.image for s in samples])
    joints = torch.from_numpy(np.stack([s.keypoints for s in samples]))

    def decode(crops: TrainingCrops) -> Callable[[], object]:
        return lambda: [read_picture(crops.records[i]) for i in keys]

    def crop(picture: Callable[[int], RGB]) -> Callable[[], object]:
        def act() -> None:
            for i in keys:
                warp_into(picture(i), places[i][0], out)

        return act

    def decoding(crops: TrainingCrops) -> Callable[[int], RGB]:
        return lambda i: crops.picture(i)[0]

    parts: dict[str, tuple[Callable[[], object], int]] = {
        f"decode, {codec}": (decode(crops), count) for codec, crops in packs.items()
    }
    parts["draw a view"] = lambda: [decoded.view(1, i) for i in keys], count
    parts["place the joints"] = lambda: [place(decoded.records[i], side, views[i]) for i in keys], count
    parts["warp"] = crop(lambda i: pictures[i]), count
    parts["recolour"] = lambda: [recolour(out, view, inplace=True) for view in views], count
    parts["collate"] = lambda: [collate(samples, images) for _ in range(16)], 16 * batch_size
    parts["targets"] = lambda: [_targets(joints, side) for _ in range(4)], 4 * batch_size
    for codec, crops in packs.items():
        parts[f"decode and crop, {codec}"] = crop(decoding(crops)), count
    rows = []
    for what, (act, samples_each) in parts.items():
        act()
        rates = [_rate(act, samples_each, seconds) for _ in range(rounds)]
        rows.append({"what": what, "samples_per_s": statistics.median(rates), "rounds": rounds})
    return rows


def _against(
    plain: Iterator[object], ours: Iterator[object], batch_size: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Both by turns: medians of the rates, and the ratio of each round."""
    for side in (plain, ours):
        next(side)
    pairs = []
    for _ in range(rounds):
        pairs.append([_rate(partial(next, side), batch_size, seconds) for side in (plain, ours)])
    ratios = sorted(fast / slow for slow, fast in pairs)
    return {
        "samples_per_s": statistics.median(fast for _, fast in pairs),
        "plain_samples_per_s": statistics.median(slow for slow, _ in pairs),
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "rounds": rounds,
    }


def _rate(act: Callable[[], object], samples: int, seconds: float) -> float:
    """Samples per CPU second of the whole process, threads included."""
    began, done = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        act()
        done += samples
    return done / spent


def _targets(keypoints: Tensor, input_px: int) -> Tensor:
    return heatmap.encode(input_to_heatmap(keypoints, 4), input_px // 4, input_px // 4, 1.0)


def _with_targets(batches: Iterator[Any]) -> Iterator[object]:
    for batch in batches:
        yield batch, _targets(batch.keypoints, batch.image.shape[-1])


def rendered(folder: Path, count: int) -> list[PersonRecord]:
    """People on rendered photos of `PHOTO_PX`, written as JPEG files."""
    people: list[PersonRecord] = []
    seed = 0
    while len(people) < count:
        scene = render(seed, LSP14, *PHOTO_PX)
        path = folder / f"photo{seed}.jpg"
        cv2.imwrite(str(path), scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        for person in scene.people:
            truth = (person.keypoints, person.visibility, person.center, person.side_px)
            people.append(PersonRecord(path, path.name, len(people), scene.skeleton, *truth))
        seed += 1
    return people[:count]


class PlainDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """One sample at a time, as pose projects have it: photo, warp, colours, normalising, Gaussians."""

    def __init__(self, people: Sequence[PersonRecord], input_px: int, augment: AugmentRecipe) -> None:
        self.people = people
        self.input_px = input_px
        self.augment = augment
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        person, spec, side = self.people[index], self.augment, self.input_px
        image: npt.NDArray[Any] = np.asarray(cv2.imread(str(person.image), cv2.IMREAD_COLOR))
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        keypoints = person.keypoints.copy()
        weight = (person.visibility > 0).astype(np.float32)
        center = person.center.copy()
        if random.random() < spec.flip_probability:
            image = image[:, ::-1, :]
            order = person.skeleton.flip_permutation
            keypoints, weight = keypoints[order], weight[order]
            keypoints[:, 0] = image.shape[1] - 1 - keypoints[:, 0]
            center[0] = image.shape[1] - 1 - center[0]
        scale = 2.0 ** (spec.scale * float(np.clip(self.rng.standard_normal(), -2, 2)))
        turned = random.random() < spec.rotate_probability
        degrees = float(np.clip(self.rng.standard_normal(), -2, 2)) * spec.rotate_deg if turned else 0.0
        middle = float(center[0]), float(center[1])
        matrix = np.asarray(cv2.getRotationMatrix2D(middle, degrees, side * scale / person.side_px))
        matrix[:, 2] = matrix[:, 2] + (side - 1) / 2 - center
        crop = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
        for joint in range(len(keypoints)):
            if weight[joint] > 0:
                keypoints[joint] = matrix @ np.array([keypoints[joint, 0], keypoints[joint, 1], 1.0])
        pixels = crop.astype(np.float32) / 255
        for channel in range(3):
            gain = random.uniform(1 - spec.gain, 1 + spec.gain)
            pixels[:, :, channel] = np.clip(pixels[:, :, channel] * gain, 0, 1)
        pixels = ((pixels - _MEAN) / _STD).astype(np.float32)
        target = _gaussians(keypoints, weight, side // 4)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return tensor, torch.from_numpy(target), torch.from_numpy(weight)


def _gaussians(
    keypoints: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], size: int, sigma: float = 1.0
) -> npt.NDArray[np.float32]:
    """Joint by joint, a patch of three sigma around the nearest cell."""
    maps = np.zeros((len(keypoints), size, size), np.float32)
    reach = int(3 * sigma)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    for joint, (x, y) in enumerate(keypoints / 4):
        column, row = int(x + 0.5), int(y + 0.5)
        left, right = max(0, column - reach), min(size, column + reach + 1)
        top, bottom = max(0, row - reach), min(size, row + reach + 1)
        if left >= right or top >= bottom:
            weight[joint] = 0
        if weight[joint] > 0:
            patch = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
            rows = slice(top - row + reach, bottom - row + reach)
            maps[joint, top:bottom, left:right] = patch[rows, left - column + reach : right - column + reach]
    return maps


def _plain_batches(people: PlainDataset, batch_size: int) -> Iterator[object]:
    order = RandomSampler(people, replacement=True, num_samples=10**9)
    return iter(DataLoader(people, batch_size, sampler=order, num_workers=0))
