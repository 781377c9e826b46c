"""A file takes its name when it answers as torch does, and not before."""

from pathlib import Path

import numpy as np
import pytest

from eyes import FACTS, Eyes, drawn
from hourglass.export import run
from hourglass.export.parity import Tolerance
from hourglass.export.people import People
from hourglass.weights.load import load_network

PEOPLE = People(
    drawn(np.full((3, 3, 2), 30.0)).permute(0, 2, 3, 1).numpy(), (), np.ones(3), "drawn eyes", rendered=True
)
NOTHING_FITS = Tolerance(heatmaps=-1.0, joint_px=None, median_px=None, p95_px=None, pck=0.5)


def test_a_file_that_answers_alike_stays(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "new" / "eyes.pt2"
    done = run.export_file(Eyes().eval(), FACTS, "torch-export", out, PEOPLE, say=said.append)
    assert done.files == (out,)
    assert done.parity.people == 3
    assert [path.name for path in out.parent.iterdir()] == ["eyes.pt2"]
    assert load_network(out)[1] == FACTS
    assert said == ["converting eyes for torch-export", "comparing it with torch on 3 people"]


def test_a_file_that_does_not_is_deleted_and_an_older_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "eyes.pt2"
    out.write_text("older")
    monkeypatch.setattr(run, "FP32", NOTHING_FITS)
    with pytest.raises(
        run.ParityError, match=r"eyes\.pt2 is not kept, for it does not answer as torch"
    ) as caught:
        run.export_file(Eyes().eval(), FACTS, "torch-export", out, PEOPLE)
    assert "on 3 people of drawn eyes" in str(caught.value)
    assert caught.value.parity.heatmaps_max < 1e-6
    assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["eyes.pt2"]


def test_openvino_writes_two_files(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    out = tmp_path / "eyes.xml"
    done = run.export_file(Eyes().eval(), FACTS, "openvino", out, PEOPLE, decode_in_graph=True)
    assert done.files == (out, tmp_path / "eyes.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eyes.bin", "eyes.xml"]
    assert done.parity.decoded_px is not None


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "eyes.pt2").mkdir()
    with pytest.raises(OSError, match=r"eyes\.pt2: it is a folder"):
        run.export_file(Eyes().eval(), FACTS, "torch-export", tmp_path / "eyes.pt2", PEOPLE)
