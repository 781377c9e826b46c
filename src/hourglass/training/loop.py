"""The training loop: set up, fit, validate, save; resumable to the bit on CPU."""

import math
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hourglass.core.arrays import RGB
from hourglass.core.files import write_atomically
from hourglass.core.skeleton import SKELETONS
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.augment import Mix
from hourglass.data.loading.dataset import TrainingCrops, decode_all
from hourglass.data.loading.loader import AnyCrops, training_batches, training_windows
from hourglass.data.loading.mixture import MixedCrops, check_names
from hourglass.data.loading.photos import TrainingPhotos, decode_photos, photo_batches, photo_px
from hourglass.data.loading.records import load_records, load_sources
from hourglass.data.packs.open_pack import open_set
from hourglass.data.packs.shards import StreamedCrops
from hourglass.models.deeppose import DeepPose
from hourglass.models.people_finder import SKELETON as FINDER_SKELETON
from hourglass.recipe.recipe import Recipe, recipe_to_yaml
from hourglass.training.cascade import begin_stage, fit_displacements, set_displacements
from hourglass.training.logs import Row, RunLog, read_rows
from hourglass.training.ranks import (
    check_same_facts,
    data_facts,
    explain_lost_rank,
    local_ranks,
    on_every_rank,
    recipe_facts,
    share_buffers,
)
from hourglass.training.setup import Interrupted as Interrupted
from hourglass.training.setup import TrainingError as TrainingError
from hourglass.training.setup import check_folder, launch, plan_run, precision_of
from hourglass.training.state import BEST as BEST
from hourglass.training.state import CHECKPOINT as CHECKPOINT
from hourglass.training.state import LAST as LAST
from hourglass.training.state import METRIC as METRIC
from hourglass.training.state import Trainer, set_up
from hourglass.training.step import Meter, train_step
from hourglass.training.terms import AnyBatch
from hourglass.training.validate import (
    PhotoValidation,
    Validation,
    photo_facts,
    share_of,
    validate,
    validate_finder,
)
from hourglass.weights.checkpoint import save_weights
from hourglass.weights.load import load_photos

Examples = AnyCrops | TrainingPhotos
"""What is trained on: crops of people, or whole photos."""

_DISPLACEMENT_PEOPLE = 2000
"""crops on which a cascade's earlier stages are measured before the next one is trained"""

_SAME_SIGNAL_S = 2.0
"""Under torchrun one Ctrl-C arrives twice, from the terminal and from torchrun; later ones are the user's."""


def train(
    recipe: Recipe,
    out: Path,
    name: str,
    resume: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
    stop_after: int | None = None,
    watch: Callable[[Row], None] | None = None,
) -> Path:
    """Run a recipe and return the best weights' file.

    Args:
        out: folder for the recipe, log, curve, checkpoint and weights.
        name: what to call the weights.
        resume: go on from `out`'s checkpoint, where there is one.
        accelerator, devices: Lightning Fabric's; under torchrun its processes are used.
        stop_after: take this many steps in all, then stop as Ctrl-C would (for tests and slices).
        watch: gets every row of the log, and nothing is shown.

    Raises Interrupted after Ctrl-C or `stop_after`, TrainingError on a non-finite value or when another
    process is lost, and ValueError or OSError for a recipe, data or folder that can't be used or that
    differs between processes.
    """
    check_folder(out, out / CHECKPOINT, resume)
    fabric = launch(recipe, accelerator, devices)
    with explain_lost_rank(fabric, out / CHECKPOINT):
        check_same_facts(fabric, recipe_facts(recipe, precision_of(recipe, fabric.device)))
        people, validation = on_every_rank(fabric, lambda: _load(recipe, fabric.world_size))
        check_same_facts(fabric, _facts(people, validation) | {"people to train on": len(people)})
        plan = plan_run(recipe, len(people))
        if isinstance(people, TrainingPhotos):
            skeleton = FINDER_SKELETON
        else:
            skeleton = people.everybody[0].skeleton if isinstance(people, TrainingCrops) else people.skeleton
        trainer = set_up(fabric, recipe, plan, skeleton, out, name)
        if resume:
            on_every_rank(fabric, lambda: _resume(trainer))
            check_same_facts(fabric, {"the checkpoint's step": trainer.step})
        _run(trainer, people, validation, stop_after, watch)
    return out / BEST


def _facts(people: Examples, validation: Validation | PhotoValidation) -> dict[str, Any]:
    """What every process must have read alike."""
    if isinstance(people, TrainingPhotos):
        assert isinstance(validation, PhotoValidation)
        return photo_facts(people.photos, validation.photos)
    assert isinstance(validation, Validation)
    return data_facts(people.everybody if isinstance(people, TrainingCrops) else [], validation.records)


def _load(recipe: Recipe, ranks: int) -> tuple[Examples, Validation | PhotoValidation]:
    """The people to train on, or whole photos of them, none decoded yet, and those to validate on."""
    data, seed, size = recipe.data, recipe.train.seed, recipe.data.input_px
    if recipe.target.loss == "centers":
        return _load_photos(recipe)
    if data.sources:
        return _load_sources(recipe, ranks)
    val_records = load_records(data, data.val_split)[: data.val_people or None]
    validation = Validation((f"{data.name} {data.val_split}",), (tuple(val_records),))
    if data.stream:
        # A pack's splits share one skeleton.
        streamed = StreamedCrops(
            open_set(data.root), data.train_split, size, recipe.augment, seed, data.buffer
        )
        streamed.check(recipe.train.batch_size, ranks)
        return streamed, validation
    records = load_records(data, data.train_split)[: data.people or None]
    if val_records[0].skeleton != records[0].skeleton:
        raise ValueError("training and validation people have different skeletons")
    return TrainingCrops(records, size, recipe.augment, seed), validation


def _load_photos(recipe: Recipe) -> tuple[TrainingPhotos, PhotoValidation]:
    data = recipe.data
    held = load_photos(data, training=False)
    validation = PhotoValidation(
        tuple(source.title for source, _ in held),
        tuple(tuple(photos[: data.val_people or None]) for _, photos in held),
    )
    train = load_photos(data, training=True)
    shares = [source.share for source, _ in train if source.share is not None]
    mix = Mix(tuple(len(photos) for _, photos in train), tuple(shares)) if shares else None
    photos = [photo for _, some in train for photo in some]
    return TrainingPhotos(photos, data.input_px, recipe.augment, recipe.train.seed, mix=mix), validation


def _load_sources(recipe: Recipe, ranks: int) -> tuple[AnyCrops, Validation]:
    data, seed, size = recipe.data, recipe.train.seed, recipe.data.input_px
    held = load_sources(data, training=False)
    validation = Validation(
        tuple(source.title for source, _ in held),
        tuple(tuple(records[: data.val_people or None]) for _, records in held),
    )
    train = load_sources(data, training=True)
    chosen = [source for source in data.sources if source.train_split]
    shares = [source.share for source in chosen if source.share is not None]
    if not any(source.stream for source in chosen):
        records = [record for _, people in train for record in people]
        mix = Mix(tuple(len(people) for _, people in train), tuple(shares)) if shares else None
        return TrainingCrops(records, size, recipe.augment, seed, mix=mix), validation
    known = {source.title: people for source, people in train}
    parts: list[TrainingCrops | StreamedCrops] = []
    for source in chosen:
        if source.stream:
            shards = open_set(data.of_source(source).root)
            check_names(shards.facts.skeleton, SKELETONS[data.skeleton], f"data.sources: {source.title}")
            parts.append(StreamedCrops(shards, source.train_split, size, recipe.augment, seed, data.buffer))
        else:
            parts.append(TrainingCrops(known[source.title], size, recipe.augment, seed))
    weights = [source.weight for source in chosen]
    mixed = MixedCrops(parts, shares or None, SKELETONS[data.skeleton], weights)
    mixed.check(recipe.train.batch_size, ranks)
    return mixed, validation


def _resume(trainer: Trainer) -> None:
    if (trainer.out / CHECKPOINT).exists():
        trainer.restore(trainer.out / CHECKPOINT)


def _run(
    trainer: Trainer,
    people: Examples,
    validation: Validation | PhotoValidation,
    stop_after: int | None,
    watch: Callable[[Row], None] | None,
) -> None:
    fabric, recipe, out, plan = trainer.fabric, trainer.recipe, trainer.out, trainer.plan
    first, name = fabric.is_global_zero, trainer.facts.name
    if first:
        out.mkdir(parents=True, exist_ok=True)
        text = recipe_to_yaml(recipe)
        write_atomically(out / "recipe.yaml", lambda part: part.write_text(text))
    with RunLog(out, plan.steps, trainer.step, quiet=not first, watch=watch, metric=trainer.metric) as log:
        millions = sum(p.numel() for p in trainer.network.parameters()) / 1e6
        where = f"{fabric.device}" if fabric.world_size == 1 else f"{fabric.world_size} processes"
        precision = "bf16" if trainer.precision == torch.bfloat16 else "fp32"
        what = "photos" if isinstance(people, TrainingPhotos) else "people"
        log.say(
            f"{name}: {len(people)} {what} to train on, {len(validation)} to validate, {plan.steps} steps "
            f"of {recipe.train.batch_size}, {millions:.2f} M parameters, {precision} on {where}, into {out}"
        )
        # The processes of one machine share its memory.
        limit_gb, workers = recipe.data.cache_gb / local_ranks(fabric), recipe.data.workers
        crops = on_every_rank(fabric, lambda: _crops(people, recipe, limit_gb))
        val_images: Sequence[Sequence[RGB] | None] = []
        if isinstance(validation, Validation):
            sets = validation.sets
            val_images = on_every_rank(
                fabric, lambda: [decode_all(_own(fabric, some), limit_gb, workers) for some in sets]
            )
        _fit(trainer, crops, validation, val_images, log, stop_after)
        if first:
            save_weights(out / LAST, trainer.ema.network.state_dict(), trainer.facts)
            _draw_curve(out)
            log.say(
                f"best {trainer.metric} {trainer.best:.2f}; "
                f"weights in {out / BEST}, curve in {out / 'curve.png'}"
            )


def _own(fabric: Fabric, records: Sequence[PersonRecord]) -> list[PersonRecord]:
    """Those whom this process answers in validation."""
    return [records[row] for row in share_of(len(records), fabric.global_rank, fabric.world_size)]


def _crops(people: Examples, recipe: Recipe, limit_gb: float) -> Examples:
    """What the loader draws from; pictures are decoded once where they fit in memory."""
    if isinstance(people, TrainingPhotos):
        longest_px = photo_px(people.input_px, people.augment.zoom[1])
        people.images = decode_photos(people.photos, longest_px, limit_gb, recipe.data.workers)
    if isinstance(people, TrainingCrops):
        people.images = decode_all(people.everybody, limit_gb, recipe.data.workers)
    return people


def _fit(
    trainer: Trainer,
    crops: Examples,
    validation: Validation | PhotoValidation,
    val_images: Sequence[Sequence[RGB] | None],
    log: RunLog,
    stop_after: int | None,
) -> None:
    recipe, plan, alone = trainer.recipe, trainer.plan, trainer.fabric.world_size == 1
    same_s = 0.0 if alone else _SAME_SIGNAL_S
    meter = Meter(trainer)
    with _stop_flag(same_s) as stopped, closing(_batches(trainer, crops)) as batches:
        while trainer.step < plan.steps:
            _enter_stage(trainer, crops)
            meter.add(*train_step(trainer, [next(batches) for _ in range(recipe.train.accumulate)]))
            first = trainer.stage[1]
            trainer.step += 1
            trainer.ema.update(trainer.step - first)
            log.advance(trainer.step)
            last = trainer.step == plan.steps
            validating = trainer.step % plan.validate_every == 0 or last
            saving = trainer.step % plan.checkpoint_every == 0 or last
            due = trainer.step % recipe.train.log_every == 0 or validating or saving
            # Several processes must stop at one step, and talk about it only where values are read anyway.
            told = bool(stopped) if alone else due and _anybody(trainer.fabric, bool(stopped))
            stopping = told or trainer.step == stop_after
            if due or stopping:
                log.write(meter.row())
            if validating:
                if isinstance(validation, PhotoValidation):
                    validate_finder(trainer, validation, log)
                else:
                    validate(trainer, validation, val_images, log)
                meter.restart_clock()
            if saving or stopping:
                trainer.save()
            if stopping and not last:
                raise Interrupted(
                    f"stopped at step {trainer.step}; --resume goes on from {trainer.out / CHECKPOINT}"
                )


def _batches(trainer: Trainer, crops: Examples) -> Generator[AnyBatch, None, None]:
    """This process's micro-batches from the next step on, on its device."""
    fabric, recipe = trainer.fabric, trainer.recipe
    how = (
        recipe.train.batch_size,
        trainer.step,
        recipe.data.workers,
        fabric.global_rank,
        fabric.world_size,
        fabric.device.type == "cuda",
        recipe.train.accumulate,
    )
    if isinstance(crops, TrainingPhotos):
        for photos in photo_batches(crops, *how):
            yield photos.to(fabric.device)
        return
    if trainer.augments_on_device:
        for windows in training_windows(crops, *how):
            yield windows.to(fabric.device).crops()
    for batch in training_batches(crops, *how):
        yield batch.to(fabric.device)


def _anybody(fabric: Fabric, here: bool) -> bool:
    """Whether any process says so."""
    most = fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="max")
    assert isinstance(most, Tensor)
    return bool(most.item())


def _enter_stage(trainer: Trainer, crops: Examples) -> None:
    """Where a cascade's next stage begins: keep what was learnt, and measure where it still errs."""
    stage, first, _ = trainer.stage
    network, averaged = trainer.network.module, trainer.ema.network
    if not isinstance(network, DeepPose) or not isinstance(averaged, DeepPose) or trainer.step != first:
        return
    assert not isinstance(crops, TrainingPhotos)
    share_buffers(trainer.fabric, averaged)
    network.load_state_dict(averaged.state_dict())
    if stage > 1:
        # Every process measures on the same people, so that all draw from the same statistics.
        batch_size = trainer.recipe.train.batch_size
        batches = training_batches(crops, batch_size, trainer.step, trainer.recipe.data.workers)
        count = min(trainer.plan.per_epoch, math.ceil(_DISPLACEMENT_PEOPLE / batch_size))
        device = trainer.fabric.device
        some = (next(batches).to(device) for _ in range(count))
        set_displacements(network, stage, *fit_displacements(network, some))
    begin_stage(network, stage)
    begin_stage(averaged, stage)


@contextmanager
def _stop_flag(same_s: float = 0.0) -> Iterator[list[float]]:
    """A list that Ctrl-C or SIGTERM fills, so that the step in hand is finished; a second one kills.

    What comes within `same_s` seconds of the first is taken for the same request.
    """
    caught: list[float] = []

    def note(number: int, frame: object) -> None:
        if caught and time.monotonic() - caught[0] >= same_s:
            raise KeyboardInterrupt
        caught.append(time.monotonic())

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals go elsewhere
        before = {}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _draw_curve(out: Path) -> None:
    from hourglass.drawing.plots import training_curve

    training_curve(read_rows(out / "log.jsonl"), out / "curve.png")
