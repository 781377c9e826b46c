import shutil
from pathlib import Path

import numpy as np
import pytest

from hourglass.data.formats.lsp import load_both as load_records
from leeds_archives import LSP, LSPET


def archives(root: Path, lsp: int, lspet: int) -> Path:
    LSP.write(root / "lsp", LSP.people(lsp))
    LSPET.write(root / "lspet", LSPET.people(lspet))
    return root


def test_train_is_lsps_first_thousand_and_all_of_lspet(tmp_path: Path) -> None:
    root = archives(tmp_path, 2000, 9002)
    train, test = load_records(root, "train"), load_records(root, "test")
    ids = [r.person_id for r in train]
    assert ids == [*range(1, 1001), *range(100_001, 109_003)]
    assert [r.person_id for r in test] == list(range(1001, 2001))
    assert [train[0].image_id, train[1000].image_id] == ["lsp/im0001.jpg", "lspet/im00001.jpg"]
    assert train[0].image == tmp_path / "lsp" / "images" / "im0001.jpg"
    assert train[-1].image == tmp_path / "lspet" / "images" / "im09002.jpg"
    assert test[-1].image_id == "lsp/im2000.jpg"
    names = [r.image_id for r in train + test]
    assert len(set(names)) == len(names) == 11_002


def test_photos_of_people_in_the_file_must_be_there(tmp_path: Path) -> None:
    root = archives(tmp_path, 3, 4)
    # Whatever else lies there: only people of joints.mat count.
    LSPET.touch(root / "lspet", [9, 10_000])
    assert len(load_records(root)) == 7
    (root / "lspet" / "images" / "im00004.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 4 photos of LSPET.*first is im00004\.jpg"):
        load_records(root)


def test_options_go_to_both(tmp_path: Path) -> None:
    root = archives(tmp_path, 2, 2)
    usual = load_records(root)
    for options in ({"crop": "limbs"}, {"sides": "observer"}):
        changed = load_records(root, "train", **options)
        expected = [
            *LSP.load(root / "lsp", "train", **options),
            *LSPET.load(root / "lspet", "train", **options),
        ]
        assert [r.side_px for r in changed] == [r.side_px for r in expected]
        for a, b, c in zip(changed, expected, usual, strict=True):
            np.testing.assert_array_equal(a.keypoints, b.keypoints)
            assert a.image_id == c.image_id
    assert [r.side_px for r in load_records(root, crop="limbs")] != [r.side_px for r in usual]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LSP with LSPET has no split 'val'; it has train and test"):
        load_records(tmp_path, "val")
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*nowhere; give the one that holds lsp/ and lspet/"
    ):
        load_records(tmp_path / "nowhere")
    root = archives(tmp_path / "both", 1001, 1)
    shutil.rmtree(root / "lspet")
    with pytest.raises(FileNotFoundError, match=r"no folder .*lspet; give the folder of the unpacked LSPET"):
        load_records(root)
    # The test split needs LSP alone.
    assert len(load_records(root, "test")) == 1


@pytest.mark.realdata
def test_the_real_archives(tmp_path: Path, real_data: Path) -> None:
    LSP.touch(tmp_path / "lsp", range(1, 2001))
    (tmp_path / "lsp" / "joints.mat").symlink_to(real_data / "lsp" / "joints.mat")
    (tmp_path / "lspet").symlink_to(real_data / "lspet")
    train = load_records(tmp_path)
    # 10,000 in the full archive; this copy ends at 9,000.
    assert len(train) == 1000 + 9000
    assert sum(int(r.labelled.sum()) for r in train) == 14_000 + 110_818
