"""What goes beside converted weights, and what is said of files that can't be converted."""

import functools
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hourglass.core.skeleton import COCO17, MPII16, Skeleton
from hourglass.weights.checkpoint import WeightsError, load_weights
from hourglass.weights.convert.importing import convert_file, import_checkpoint

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(others: SimpleNamespace) -> State:
    """A small bearpaw network."""
    made: State = others.bearpaw(others.Writer(), stacks=2, depth=1, f=8)
    return made


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


# Facts


@pytest.mark.parametrize(
    ("source", "joints", "data", "skeleton", "mean", "std", "sigma_hm", "offset_hm"),
    [
        ("bearpaw", 16, "", MPII16, (0.4404, 0.4440, 0.4327), (1, 1, 1), 1.0, 0.0),
        ("bearpaw", 16, "lsp", MPII16, (0.4442, 0.4302, 0.4039), (1, 1, 1), 1.0, 0.0),
        ("bearpaw", 17, "", COCO17, (0.4566, 0.4369, 0.4061), (1, 1, 1), 1.0, 0.0),
        ("anibali", 16, "", MPII16, (0.4404, 0.4440, 0.4327), (1, 1, 1), 1.0, 0.0),
        ("princeton", 16, "mpii", MPII16, (0, 0, 0), (1, 1, 1), 1.0, 0.0),
        ("mmpose", 16, "", MPII16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2.0, -0.375),
        ("mmpose", 17, "", COCO17, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2.0, -0.375),
    ],
)
def test_facts_of_each_source(
    others: SimpleNamespace,
    tmp_path: Path,
    source: str,
    joints: int,
    data: str,
    skeleton: Skeleton,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    sigma_hm: float,
    offset_hm: float,
) -> None:
    layout = "bearpaw" if source == "anibali" else source
    sizes = {} if source == "mmpose" else {"depth": 1}
    content = getattr(others, layout)(others.Writer(), joints=joints, stacks=1, f=8, **sizes)
    done = import_checkpoint(saved(tmp_path / "best.pth.tar", content), source, data, licence="MIT")
    facts = done.facts
    assert (facts.skeleton, facts.mean, facts.std) == (skeleton, mean, std)
    assert (facts.sigma_hm, facts.offset_hm, facts.decoding, facts.signed) == (
        sigma_hm,
        offset_hm,
        "quarter",
        False,
    )
    assert (facts.name, facts.input_px, facts.licence) == ("best", 256, "MIT")
    assert facts.source.endswith(": best.pth.tar")
    assert done.data_assumed == (source == "bearpaw" and joints == 16 and not data)
    assert torch.equal(done.state["normalise.mean"].flatten(), torch.tensor(mean, dtype=torch.float32))
    assert torch.equal(done.state["normalise.std"].flatten(), torch.tensor(std, dtype=torch.float32))


@pytest.mark.parametrize("source", ["bearpaw", "princeton", "mmpose"])
def test_the_layout_tells_the_source(others: SimpleNamespace, tmp_path: Path, source: str) -> None:
    content = getattr(others, source)(others.Writer(), stacks=1, f=8)
    path = saved(tmp_path / "x.pth", {"state_dict": content})
    assert import_checkpoint(path).source == source
    others_named = {"bearpaw": "princeton", "princeton": "mmpose", "mmpose": "anibali"}
    assert f"it looks like {source}'s" in refused(path, others_named[source])


def test_every_option_reaches_the_file(state: State, tmp_path: Path) -> None:
    path = saved(tmp_path / "hg.pth", state)
    out = tmp_path / "deep" / "out.safetensors"
    convert_file(path, out, "bearpaw", "lsp", 384, "mine", "MIT", half=True)
    tensors, facts = load_weights(out)
    assert (facts.name, facts.input_px, facts.licence) == ("mine", 384, "MIT")
    assert "LSP" in facts.data
    exact = state["conv1.weight"]
    assert torch.equal(tensors["stem.0.0.weight"], exact.half().float())
    convert_file(path, out)
    assert torch.equal(load_weights(out)[0]["stem.0.0.weight"], exact)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_kinds_of_numbers_become_float32(state: State, tmp_path: Path, kind: torch.dtype) -> None:
    other = {key: t.to(kind) if t.is_floating_point() else t for key, t in state.items()}
    done = import_checkpoint(saved(tmp_path / "x.pth", other))
    assert {t.dtype for key, t in done.state.items() if "num_batches" not in key} == {torch.float32}
    assert torch.equal(done.state["heads.1.bias"], other["score.1.bias"].float())


def test_wrong_options_are_named(state: State, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", state)
    for arguments, words in (
        (("darknet",), "--from 'darknet' is not one of auto, bearpaw, anibali, princeton, mmpose, torch7"),
        (("bearpaw", "aic"), r"--data 'aic' is no data set of bearpaw; known are mpii \(16 joints\)"),
        (("bearpaw", "coco"), "the weights have 16 heatmaps, which is not coco's number"),
        (("anibali", "coco"), "--data 'coco' is no data set of anibali"),
        (("bearpaw", "", 250), "--input-px 250 must be a multiple of 8"),
        (("bearpaw", "", 0), "--input-px 0"),
    ):
        with pytest.raises(ValueError, match=words):
            import_checkpoint(path, *arguments)
    with pytest.raises(ValueError, match=r"out\.pth must end in \.safetensors"):
        convert_file(path, tmp_path / "out.pth")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth"]


def test_half_precision_never_turns_a_number_into_infinity(state: State, tmp_path: Path) -> None:
    large = {**state, "score.0.bias": torch.full((16,), 7e4)}
    path = saved(tmp_path / "x.pth", large)
    with pytest.raises(ValueError, match=r"--half: heads\.0\.bias has numbers beyond fp16's 65504"):
        convert_file(path, tmp_path / "out.safetensors", half=True)
    assert not (tmp_path / "out.safetensors").exists()
    # Statistics are stored in fp32 anyhow.
    path = saved(tmp_path / "y.pth", {**state, "bn1.running_var": torch.full((2,), 7e4)})
    convert_file(path, tmp_path / "out.safetensors", half=True)
    stored = load_weights(tmp_path / "out.safetensors")[0]["stem.0.1.running_var"]
    assert torch.equal(stored, torch.full((2,), 7e4))


def test_a_number_of_joints_that_no_data_set_has(others: SimpleNamespace, tmp_path: Path) -> None:
    content = others.bearpaw(others.Writer(), joints=21, stacks=1, depth=1, f=8)
    said = refused(saved(tmp_path / "x.pth", content))
    assert "the weights have 21 heatmaps" in said
    assert "coco (17 joints)" in said


# Refusals


def refused(path: Path, source: str = "auto") -> str:
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, source)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert len(said) < 700
    return said


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


class Thing:
    """Something that a training script may have saved."""


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (lambda trace: Bomb(trace), "posix.mkdir"),
        (lambda trace: Thing(), "Thing"),
        (lambda trace: np.float64(0.9), "numpy"),
        (lambda trace: functools.partial(print, "x"), "functools.partial"),
        (lambda trace: nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (lambda trace: print, "print"),
    ],
    ids=["code", "class", "numpy", "partial", "module", "function"],
)
def test_anything_but_tensors_is_refused_by_name(
    state: State, tmp_path: Path, extra: Callable[[Path], Any], named: str, zipped: bool
) -> None:
    trace = tmp_path / "trace"
    content = {"state_dict": state, "extra": extra(trace)}
    path = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=zipped)
    said = refused(path)
    assert "is refused: besides tensors it holds" in said
    assert named in said
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_plain_pickle_is_refused_and_not_run(state: State, tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"model": Bomb(trace)}, protocol))
    said = refused(path)
    assert "refused" in said or "no checkpoint at all" in said
    assert not trace.exists()
    pickle.loads(path.read_bytes())  # the bomb is live
    assert trace.exists()


def test_the_object_is_named_whatever_the_protocol_of_the_pickle(state: State, tmp_path: Path) -> None:
    content = {"state_dict": state, "extra": Thing()}
    for protocol in (2, 3, 4):
        assert "Thing" in refused(saved(tmp_path / "x.pth", content, pickle_protocol=protocol))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no dict of tensors, or empty"),
        ([torch.zeros(3)], "holds a list, not a state dict"),
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ({"state_dict": 3}, "no dict of tensors"),
        ({"epoch": 3, "model_state": {}}, "'epoch' holds a int; expected was a dict of tensors"),
        ({"state_dict": {"a.weight": [1.0]}}, "'a.weight' holds a list"),
        ({"state_dict": {3: torch.zeros(1)}}, "3 holds a Tensor"),
        ({"features.0.weight": torch.zeros(4, 3, 3, 3)}, "is of no known layout: it has features.0.weight"),
    ],
)
def test_foreign_files_are_described(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refused(saved(tmp_path / "x.pth", content))


def test_candidates_are_listed_for_a_file_of_no_known_layout(tmp_path: Path) -> None:
    content = {f"start.{i}.weight": torch.zeros(1) for i in range(9)}
    said = refused(saved(tmp_path / "x.pth", content))
    assert "start.0.weight, start.1.weight, start.2.weight and 6 more" in said
    for source in ("bearpaw has hg.0", "princeton has hgs.0", "mmpose has backbone.hourglass_modules.0"):
        assert source in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("fc.0.0.bias"), "lacks fc.0.0.bias"),
        (lambda s: s.pop("bn1.running_var"), "lacks bn1.running_var"),
        (lambda s: s.pop("score.0.weight"), "lacks score.0.weight"),
        (lambda s: s.update(surplus=torch.zeros(1)), "has surplus, which nobody expects"),
        (lambda s: s.pop("score.1.weight"), "lacks score.1.weight"),
        (lambda s: s.update({"score.0.weight": torch.zeros(16, 8)}), "expected was (joints, features, 1, 1)"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(2, 3, 5, 5)}),
            "conv1.weight has the shape 2 x 3 x 5 x 5, expected was 2 x 3 x 7 x 7",
        ),
        (
            lambda s: s["layer3.0.conv1.weight"].view(-1)[3:4].fill_(float("nan")),
            "layer3.0.conv1.weight holds",
        ),
        (lambda s: s["bn1.running_var"][1:].fill_(-1), "bn1.running_var holds a negative variance"),
        (lambda s: s.update({"bn1.bias": torch.zeros(2, dtype=torch.int32)}), "bn1.bias holds torch.int32"),
        (lambda s: s.update({"bn1.bias": torch.zeros(2).to_sparse()}), "'bn1.bias' is no plain tensor"),
        (lambda s: s.update({"score.0.weight": torch.zeros(16, 6, 1, 1)}), "multiple of 4, not 6"),
    ],
)
def test_what_is_missing_or_odd_is_named(
    state: State, tmp_path: Path, change: Callable[[State], object], words: str
) -> None:
    odd = {key: value.clone() for key, value in state.items()}
    change(odd)
    assert words in refused(saved(tmp_path / "x.pth", odd), "bearpaw")


def test_keys_that_name_a_huge_network_build_none(state: State, tmp_path: Path) -> None:
    few = {"score.0.weight": torch.zeros(16, 8, 1, 1)}
    few |= {f"hg.{i}.hg.0.0.0.conv1.weight": torch.zeros(1) for i in range(500)}
    few |= {f"hg.0.hg.0.0.{i}.conv1.weight": torch.zeros(1) for i in range(500)}
    assert "too few for the 500 stacks" in refused(saved(tmp_path / "x.pth", few))
    deep = {f"hg.0.hg.{i}.0.0.conv1.weight": torch.zeros(1) for i in range(900)}
    assert "an hourglass of 900 levels" in refused(saved(tmp_path / "y.pth", deep))


def test_princetons_stem_is_not_bearpaws(others: SimpleNamespace, state: State, tmp_path: Path) -> None:
    narrow = others.Writer()
    narrow.conv("layer2.0.conv1", 4, 2)
    said = refused(saved(tmp_path / "x.pth", state | narrow.state))
    assert "layer2.0.conv1.weight has the shape 2 x 4 x 1 x 1, expected was 4 x 4 x 1 x 1" in said


def test_our_own_weights_need_no_conversion(state: State, tmp_path: Path) -> None:
    convert_file(saved(tmp_path / "x.pth", state), tmp_path / "ours.safetensors")
    assert "already is a weight file of hourglass" in refused(tmp_path / "ours.safetensors")


def test_the_checkpoint_is_not_written_over(state: State, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(state, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is the checkpoint itself"):
        convert_file(path, path)
    assert path.read_bytes() == before


def test_files_of_other_kinds(state: State, tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path / "gone.pth")
    for content in (b"", b"hello", b"PK\x03\x04" + bytes(50), b"\x89PNG\r\n" + bytes(90), bytes(8) + b"{"):
        (tmp_path / "x.pth").write_bytes(content)
        refused(tmp_path / "x.pth")
    program = tmp_path / "program.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), program)  # type: ignore[no-untyped-call]
    assert "TorchScript" in refused(program)
    torch7 = tmp_path / "x.t7"
    torch7.write_bytes(bytes([4, 0, 0, 0, 1, 0, 0, 0]) + bytes(40))
    assert "a file of Torch7, not of bearpaw" in refused(torch7, "bearpaw")
    assert "no .t7 file" in refused(saved(tmp_path / "y.pth", state), "torch7")
