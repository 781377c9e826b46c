"""Cut and bit-flipped Torch7 files: one sentence or the right answer, never a crash or other weights."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.importing import import_checkpoint
from weights.convert.checks import survive


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("flat", [False, True], ids=["apart", "flat"])
def test_no_flipped_bit_gives_other_weights(
    others: SimpleNamespace,
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    flat: bool,
    count: int,
) -> None:
    lua = graphs.Lua()
    graph = graphs.eccv(lua, stacks=1, f=4, depth=1)
    shared = [v for key, v in lua.weights.state.items() if "running_" not in key] if flat else []
    path = torch7.written(tmp_path / "whole.t7", graph, one_storage=shared)
    happened = survive(path, lua.weights.state, count)
    assert happened["refused"] > count / 3
    assert happened["the same"] > count / 20
    assert happened["another number"] > 0


def test_no_beginning_of_a_file_is_taken_for_the_whole(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    path = torch7.written(tmp_path / "whole.t7", graphs.eccv(graphs.Lua(), stacks=1, f=4, depth=1))
    raw = path.read_bytes()
    for length in [*range(8, len(raw), len(raw) // 30), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(WeightsError, match="cut off") as caught:
            import_checkpoint(path, "torch7")
        assert "\n" not in str(caught.value)


def test_what_follows_the_object_is_damage(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    path = torch7.written(tmp_path / "whole.t7", graphs.eccv(graphs.Lua(), stacks=1, f=4, depth=1))
    path.write_bytes(path.read_bytes() + bytes(7))
    with pytest.raises(WeightsError, match="is damaged: 7 bytes follow its object"):
        import_checkpoint(path)


def test_two_layers_never_have_the_same_numbers(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    # A damaged reference or offset leads to the numbers of another layer, of the same shape perhaps.
    lua = graphs.Lua()
    graph = graphs.eccv(lua, stacks=1, f=4, depth=1)
    convs = [o for o in torch7.objects(graph) if o.name == "cudnn.SpatialConvolution"]
    same = [o for o in convs if o.fields["weight"].shape == convs[-1].fields["weight"].shape]
    whole = same[0].fields["weight"]
    same[0].fields["weight"] = same[1].fields["weight"]
    with pytest.raises(WeightsError, match="are the same numbers in the file, which is damaged"):
        import_checkpoint(torch7.written(tmp_path / "one.t7", graph))
    flat = np.zeros(2 * whole.numel(), np.float32)
    for o, offset in ((same[0], 0), (same[1], whole.numel() - 1)):
        o.fields["weight"] = torch7.View(flat, offset, list(whole.shape), "Float")
    with pytest.raises(WeightsError, match="are the same numbers in the file, which is damaged"):
        import_checkpoint(torch7.written(tmp_path / "overlap.t7", graph))
