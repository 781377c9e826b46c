"""Training as its users meet it: it learns, it stops cleanly, and it goes on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

from hourglass.core.skeleton import BODY19, COCO17
from hourglass.data.packs.write_pack import write_pack
from hourglass.inference.device import computes_bf16
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import losses
from hourglass.training.logs import read_rows
from hourglass.training.loop import BEST, CHECKPOINT, LAST, Interrupted, TrainingError, train
from hourglass.weights.checkpoint import load_checkpoint, load_weights
from hourglass.weights.facts import WeightsError
from processes import running
from shard_cases import numbered

TINY = [
    "network.features=8",
    "network.depth=2",
    "data.input_px=32",
    "data.people=24",
    "data.val_people=4",
    "schedule.warmup.steps=4",
    "train.length.steps=20",
    "train.batch_size=4",
    "train.validate_every.steps=10",
    "train.checkpoint_every.steps=5",
    "train.log_every=5",
    "augment.noise=0.05",
]


def tiny(*more: str) -> Recipe:
    return load_recipe(bundled_recipes()["synthetic_tiny"], [*TINY, *more])


def same_state(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_state(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    return a == b


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    train(tiny(), out, "tiny")
    return out


def test_a_run_leaves_everything_behind(whole_run: Path) -> None:
    names = {p.name for p in whole_run.iterdir()}
    assert {"recipe.yaml", "log.jsonl", "tensorboard", CHECKPOINT, BEST, LAST, "curve.png"} <= names
    assert not [n for n in names if n.endswith(".part")]
    rows = read_rows(whole_run / "log.jsonl")
    assert [r["step"] for r in rows if r["kind"] == "train"] == [5, 10, 15, 20]
    assert [r["step"] for r in rows if r["kind"] == "val"] == [10, 20]
    for row in rows:
        if row["kind"] == "train":
            assert row["loss"] == pytest.approx(row["stage_1"] + row["stage_2"])
    _, facts = load_weights(whole_run / BEST)
    assert facts.input_px == 32
    assert facts.skeleton.name == "lsp14"
    assert str(whole_run) not in facts.to_json()
    assert facts.metrics["PCK@0.2"] == max(r["PCK@0.2"] for r in rows if r["kind"] == "val")
    assert load_recipe(whole_run / "recipe.yaml") == tiny()


def test_stop_and_resume_equals_one_run_bit_for_bit(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="step 7"):
        train(tiny(), out, "tiny", stop_after=7)
    train(tiny(), out, "tiny", resume=True)
    assert same_state(load_checkpoint(out / CHECKPOINT), load_checkpoint(whole_run / CHECKPOINT))
    steps = [(r["kind"], r["step"]) for r in read_rows(out / "log.jsonl")]
    assert steps == sorted(set(steps), key=steps.index)  # nothing twice


def test_another_seed_is_another_run(whole_run: Path, tmp_path: Path) -> None:
    """Guards the test above: the comparison can tell runs apart."""
    train(tiny("train.seed=1"), tmp_path / "run", "tiny")
    a, b = load_checkpoint(tmp_path / "run" / CHECKPOINT), load_checkpoint(whole_run / CHECKPOINT)
    assert not same_state(a["network"], b["network"])


def _command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "hourglass", "train", "synthetic_tiny", *TINY, f"--out={out}", *more]


def _wait_for(path: Path, process: "subprocess.Popen[Any]", seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline, f"no {path.name} within {seconds} s"
        time.sleep(0.01)


def test_kill_9_and_resume_equals_one_run_bit_for_bit(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with running(_command(out), env=env, stderr=subprocess.DEVNULL) as process:
        _wait_for(out / CHECKPOINT, process)
        process.kill()
        process.wait(30)
    assert process.returncode == -signal.SIGKILL
    assert load_checkpoint(out / CHECKPOINT)["step"] < 20
    done = subprocess.run(
        _command(out, "--resume"), env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert same_state(load_checkpoint(out / CHECKPOINT), load_checkpoint(whole_run / CHECKPOINT))


@pytest.mark.slow
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [*_command(out), "train.length.steps=100000", "train.validate_every.steps=100000"]
    with running(command, stderr=subprocess.PIPE, text=True) as process:
        _wait_for(out / CHECKPOINT, process)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in message
    assert "Traceback" not in message
    rows = read_rows(out / "log.jsonl")
    assert load_checkpoint(out / CHECKPOINT)["step"] == rows[-1]["step"]


@pytest.mark.slow
def test_a_longer_run_learns(tmp_path: Path) -> None:
    """An all-zero answer is what training starts from; a hundred steps must do better than that."""
    out = tmp_path / "run"
    train(tiny("train.length.steps=100", "train.validate_every.steps=100", "target.peak_weight=0"), out, "t")
    losses = [r["stage_2"] for r in read_rows(out / "log.jsonl") if r["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]


def test_non_finite_loss_stops_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = losses.heatmap_loss
    calls = []

    def broken(*args: object, **kwargs: object) -> torch.Tensor:
        calls.append(1)
        terms = real(*args, **kwargs)  # type: ignore[arg-type]
        return terms * torch.tensor([1.0, float("nan") if len(calls) > 14 else 1.0])

    monkeypatch.setattr("hourglass.training.terms.heatmap_loss", broken)
    with pytest.raises(TrainingError, match=r"the loss of stage 2 became nan by step 15"):
        train(tiny(), tmp_path / "run", "tiny")
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["step"] == 10  # the last good one


@pytest.mark.parametrize(
    "overrides", [["train.precision=fp32"], ["train.channels_last=false"], ["train.ema=0"]]
)
def test_training_options_change_the_run(overrides: list[str], whole_run: Path, tmp_path: Path) -> None:
    if overrides == ["train.precision=fp32"] and not computes_bf16(torch.device("cpu")):
        pytest.skip("this CPU computes in fp32 either way")
    recipe = tiny(*overrides, "train.length.steps=5", "train.validate_every.steps=5")
    train(recipe, tmp_path / "run", "tiny")
    row = read_rows(tmp_path / "run" / "log.jsonl")[0]
    before = read_rows(whole_run / "log.jsonl")[0]
    a, b = (load_checkpoint(p / CHECKPOINT) for p in (tmp_path / "run", whole_run))
    assert row["step"] == before["step"] == 5
    if overrides == ["train.ema=0"]:
        assert same_state(a["network"], a["ema"])
        assert not same_state(b["network"], b["ema"])
    else:
        assert row["loss"] != before["loss"]  # rounding alone differs, so it is close, not equal
        assert row["loss"] == pytest.approx(before["loss"], rel=0.2)


def test_starting_from_other_weights(whole_run: Path, tmp_path: Path) -> None:
    recipe = tiny(f"train.init={whole_run / BEST}", "optimiser.lr=1e-12", "train.length.steps=2")
    train(recipe, tmp_path / "run", "tiny")
    start, _ = load_weights(whole_run / BEST)
    end = load_checkpoint(tmp_path / "run" / CHECKPOINT)["network"]
    torch.testing.assert_close(end["heads.1.weight"], start["heads.1.weight"], rtol=0, atol=1e-6)


def test_other_joints_start_from_what_they_have_in_common(whole_run: Path, tmp_path: Path) -> None:
    more = ("data.skeleton=coco17", "optimiser.lr=1e-12", "train.length.steps=1", "optimiser.weight_decay=0")
    train(tiny(f"train.init={whole_run / BEST}", *more), tmp_path / "run", "tiny")
    start, facts = load_weights(whole_run / BEST)
    end = load_checkpoint(tmp_path / "run" / CHECKPOINT)["network"]
    old = facts.skeleton
    for joint in ("left_wrist", "right_hip"):
        before, after = start["heads.1.weight"][old.index(joint)], end["heads.1.weight"][COCO17.index(joint)]
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    first = next(name for name in start if start[name].ndim == 4 and start[name].shape[1] == 3)
    torch.testing.assert_close(end[first], start[first], rtol=0, atol=1e-6)


SOURCES = (
    "data: {skeleton: body19, input_px: 32, sources: ["
    "{name: synthetic, label: rendered, share: 0.75}, "
    "{name: pack, root: people.parquet, share: 0.25, weight: 0.5}]}"
)


def several_sources(tmp_path: Path) -> Recipe:
    """Rendered people and a pack, three to one."""
    write_pack({"train": numbered(7), "val": numbered(3, 100)}, tmp_path / "people.parquet")
    text = bundled_recipes()["synthetic_tiny"].read_text()
    head, tail = text[: text.index("data:")], text[text.index("augment:") :]
    (tmp_path / "mixed.yaml").write_text(f"{head}{SOURCES}\n{tail}")
    options = [line for line in TINY if not line.startswith("data.")]
    options += [f"data.root={tmp_path}", "data.people=8", "data.val_people=4"]
    return load_recipe(tmp_path / "mixed.yaml", options)


@pytest.mark.slow
def test_several_sources_resume_to_the_bit(tmp_path: Path) -> None:
    recipe = several_sources(tmp_path)
    train(recipe, tmp_path / "whole", "mixed")
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", "mixed", stop_after=7)
    train(recipe, tmp_path / "cut", "mixed", resume=True)
    whole, cut = (load_checkpoint(tmp_path / run / CHECKPOINT) for run in ("whole", "cut"))
    assert same_state(whole, cut)


def test_several_sources_are_validated_each(tmp_path: Path) -> None:
    train(several_sources(tmp_path), tmp_path / "whole", "mixed")
    (last,) = [
        r for r in read_rows(tmp_path / "whole" / "log.jsonl") if r["kind"] == "val" and r["step"] == 20
    ]
    assert list(last["sources"]) == ["rendered", "pack"]
    each = [last["sources"][title]["PCK@0.2"] for title in ("rendered", "pack")]
    assert last["PCK@0.2"] == pytest.approx(sum(each) / 2, abs=1e-3)
    _, facts = load_weights(tmp_path / "whole" / BEST)
    assert facts.skeleton == BODY19
    assert facts.data == "rendered train, pack train"
    assert str(tmp_path) not in facts.recipe


def test_refusals_name_the_thing(whole_run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        train(tiny(), taken, "t")
    with pytest.raises(FileExistsError, match="--resume"):
        train(tiny(), whole_run, "t")
    with pytest.raises(WeightsError, match=r"optimiser\.lr"):
        train(tiny("optimiser.lr=1e-3"), whole_run, "t", resume=True)
    with pytest.raises(RecipeError, match=r"train\.batch_size: 64 is more than the 24 people"):
        train(tiny("train.batch_size=64"), tmp_path / "run", "t")
    with pytest.raises(WeightsError, match="another network"):
        train(tiny(f"train.init={whole_run / BEST}", "network.features=4"), tmp_path / "run2", "t")


def test_a_checkpoint_cut_in_half_is_refused(whole_run: Path, tmp_path: Path) -> None:
    whole = (whole_run / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"last\.ckpt is cut off or damaged"):
        train(tiny(), tmp_path, "t", resume=True)


def test_a_full_disk_keeps_the_old_checkpoint(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(tiny(), out, "t", stop_after=5)
    before = (out / CHECKPOINT).read_bytes()

    def no_space(state: object, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(OSError, match=r"cannot write .*last\.ckpt: No space left on device"):
        train(tiny(), out, "t", resume=True)
    assert (out / CHECKPOINT).read_bytes() == before
    assert not list(out.glob(".*.part"))


def test_log_rows_survive_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"kind": "train", "step": 5}) + "\n" + '{"kind": "tr')
    assert read_rows(path) == [{"kind": "train", "step": 5}]


def test_own_keypoints_without_a_torso(tmp_path: Path) -> None:
    """A COCO file of something that has no shoulders trains, is scored by its box, and predicts."""
    names = ["nose", "left_ear", "right_ear", "tail"]
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        images, annotations = [], []
        for i in range(count):
            file = f"{split}{i}.png"
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / file
            )
            images.append({"id": i, "file_name": file, "width": 50, "height": 40})
            points = [[10, 10, 2], [8, 6, 2], [12, 6, 1], [30, 30, 2]]
            annotations.append(
                {
                    "id": i,
                    "image_id": i,
                    "category_id": 7,
                    "keypoints": [value for point in points for value in point],
                    "bbox": [5, 4, 30, 30],
                }
            )
        category = {"id": 7, "name": "cat", "keypoints": names, "skeleton": [[1, 4], [1, 2], [1, 3]]}
        content = {"images": images, "annotations": annotations, "categories": [category]}
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    data = [f"data.root={tmp_path / 'photos'}", f"data.annotations={tmp_path}/{{split}}.json"]
    train(tiny("data.name=coco", *data, "data.people=0", "train.length.steps=10"), tmp_path / "run", "cats")
    _, facts = load_weights(tmp_path / "run" / BEST)
    assert facts.skeleton.joints == tuple(names)
    assert facts.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    assert 0 <= facts.metrics["PCK@0.2"] <= 100
    assert (tmp_path / "run" / "curve.png").exists()
