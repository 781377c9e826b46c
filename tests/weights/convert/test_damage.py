"""Cut and bit-flipped checkpoints: one sentence or the right answer, never a crash or other weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.importing import import_checkpoint
from weights.convert.checks import survive

FORMS = ("zip", "old", "safetensors")


def written(folder: Path, state: dict[str, Tensor], form: str) -> Path:
    """A checkpoint as bearpaw's code saves it, or the same tensors as safetensors."""
    path = folder / "model_best.pth.tar"
    if form == "safetensors":
        save_file(state, path)
        return path
    moments = {"state": {0: {"square_avg": torch.ones(5)}}, "param_groups": [{"lr": 2.5e-4, "params": [0]}]}
    content: dict[str, Any] = {"epoch": 3, "arch": "hg", "best_acc": 0.5, "optimizer": moments}
    content["state_dict"] = {f"module.{key}": value for key, value in state.items()}
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_bit_gives_other_weights(
    others: SimpleNamespace, tmp_path: Path, form: str, count: int
) -> None:
    state = others.bearpaw(others.Writer(), stacks=1, depth=1, f=4)
    happened = survive(written(tmp_path, state, form), state, count, checked=form == "zip")
    assert happened["refused"] > count / 10
    assert happened["the same"] > 0
    assert (happened["another number"] > 0) == (form != "zip")


@pytest.mark.parametrize("form", FORMS)
def test_no_beginning_of_a_file_is_taken_for_the_whole(
    others: SimpleNamespace, tmp_path: Path, form: str
) -> None:
    state = others.bearpaw(others.Writer(), stacks=1, depth=1, f=4)
    raw = written(tmp_path, state, form).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in [*range(0, len(raw), len(raw) // 20), len(raw) - 1]:
        cut.write_bytes(raw[:length])
        with pytest.raises(WeightsError) as caught:
            import_checkpoint(cut)
        assert str(caught.value).startswith(str(cut))
        assert "\n" not in str(caught.value)


def test_an_old_file_whose_list_of_tensors_is_shorter(others: SimpleNamespace, tmp_path: Path) -> None:
    # In PyTorch's older form a list of storages says what follows; what it leaves out would stay unread.
    state = others.bearpaw(others.Writer(), stacks=1, depth=1, f=4)
    path = written(tmp_path, state, "old")
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(WeightsError, match="there is more in it than its own list of tensors says"):
        import_checkpoint(path)
