"""Crops to compare on: whose they are, how large in the picture, and whether labels count."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyes import FACTS
from hourglass.core.skeleton import LSP14, MPII16
from hourglass.export import people
from hourglass.inference.inputs_outputs import write_picture
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.synthetic.render import load_records
from hourglass.weights.checkpoint import WeightFacts

RECIPE = NetworkRecipe("hg", features=8, depth=1)
LSP = WeightFacts("small", RECIPE, LSP14, 64, (0.0,) * 3, (1.0,) * 3)


def test_annotated_people_come_in_their_own_squares() -> None:
    records = load_records(LSP14, 5, size_px=96)
    seen: list[tuple[int, int]] = []
    found = people.of_records(records, LSP, "drawn", most=3, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (len(found), found.crops.shape, found.source) == (3, (3, 64, 64, 3), "drawn")
    assert [record.person_id for record in found.records] == [0, 2, 4]
    np.testing.assert_allclose(found.scale * 64, [records[i].side_px for i in (0, 2, 4)])


def test_labels_of_other_joints_do_not_count() -> None:
    assert people.of_records(load_records(MPII16, 2, size_px=96), LSP, "drawn").records == ()


def test_drawn_people_have_the_weights_joints_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "RENDERED", 2)
    known = people.rendered(LSP)
    assert (known.rendered, len(known), len(known.records)) == (True, 2, 2)
    assert people.rendered(FACTS).records == ()
    assert people.rendered(replace(FACTS, skeleton=replace(FACTS.skeleton, name="lsp14"))).records == ()


def test_photos_are_looked_at_as_predict_does(tmp_path: Path) -> None:
    for record in load_records(LSP14, 2, size_px=96):
        (tmp_path / f"{record.image_id}.png").write_bytes(record.image)  # type: ignore[arg-type]
    network = build_network(RECIPE, LSP14).eval()
    found = people.of_path(str(tmp_path), network, LSP, most=1)
    assert (len(found), found.records, found.source) == (1, (), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="there is no file or folder nowhere"):
        people.of_path("nowhere", network, LSP)
    with pytest.raises(FileNotFoundError, match="there is no pack nowhere"):
        people.of_path("nowhere.parquet", network, LSP)
    write_picture(tmp_path / "one.png", np.zeros((40, 50, 3), np.uint8))
    assert len(people.of_path(str(tmp_path / "one.png"), network, LSP)) == 1


def test_evenly() -> None:
    assert people.evenly("abcdefghi", 3) == ["a", "e", "i"]
    assert people.evenly("abc", 0) == people.evenly("abc", 9) == ["a", "b", "c"]
