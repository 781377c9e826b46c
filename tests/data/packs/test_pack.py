import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.packs.open_pack import load_records
from hourglass.data.packs.pack_file import METADATA_KEY
from hourglass.data.packs.write_pack import write_pack


def people(count: int) -> list[PersonRecord]:
    keypoints = np.linspace(5, 35, 28, dtype=np.float32).reshape(14, 2)
    photo = io.BytesIO()
    Image.new("RGB", (50, 40), "olive").save(photo, "PNG")
    return [
        PersonRecord(
            image=photo.getvalue(),
            image_id=f"photo{number}.png",
            person_id=number,
            skeleton=LSP14,
            keypoints=keypoints,
            visibility=np.full(14, 2, np.uint8),
            center=np.array([20, 20], np.float32),
            side_px=40.0,
        )
        for number in range(count)
    ]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    out = tmp_path / "people.parquet"
    write_pack({"train": people(3)}, out)
    return out


def rewrite(path: Path, change: dict[str, Any], row: int = 1) -> None:
    """Change fields of one row, as another tool would."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[row] |= change
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_missing_pack(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no pack .*nowhere\.parquet; write one with"):
        load_records(tmp_path / "nowhere.parquet")
    with pytest.raises(
        ValueError, match="is a folder without packs; give a pack file, or a folder of shards"
    ):
        load_records(tmp_path)


def test_not_parquet(tmp_path: Path) -> None:
    for content in (b"", b"some text that is no Parquet file"):
        (tmp_path / "text.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"text\.parquet is no Parquet file"):
            load_records(tmp_path / "text.parquet")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_a_truncated_pack(packed: Path, share: float) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"people\.parquet is cut off or damaged; pack it again"):
        load_records(packed)


def test_a_bit_changed_in_a_picture_is_noticed(packed: Path) -> None:
    pictures = pq.ParquetFile(packed).metadata.row_group(0).column(0)
    assert pictures.path_in_schema == "image.bytes"
    damaged = bytearray(packed.read_bytes())
    damaged[pictures.data_page_offset + pictures.total_compressed_size - 9] ^= 16
    packed.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"people\.parquet is damaged near row 0; pack it again"):
        load_records(packed)


def test_damage_anywhere_is_a_value_error_or_harmless(packed: Path) -> None:
    whole = packed.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        packed.write_bytes(damaged)
        try:
            assert len(load_records(packed)) == 3
        except ValueError:
            noticed += 1
    assert noticed > 75


def test_a_parquet_file_of_someone_else(tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"image": [b"x"]}), path)
    with pytest.raises(ValueError, match=r"theirs\.parquet is a Parquet file, but no pack"):
        load_records(path)
    for metadata in (b"[]", b"{}", b"not JSON", b'{"format": "hourglass-pack-1", "skeleton": 3}'):
        pq.write_table(pa.table({"image": [b"x"]}).replace_schema_metadata({METADATA_KEY: metadata}), path)
        with pytest.raises(ValueError, match=r"theirs\.parquet"):
            load_records(path)


def test_another_format_or_other_columns(packed: Path) -> None:
    table = pq.read_table(packed)
    raw = json.loads(table.schema.metadata[METADATA_KEY])
    newer = {METADATA_KEY: json.dumps({**raw, "format": "hourglass-pack-9"})}
    pq.write_table(table.replace_schema_metadata(newer), packed)
    with pytest.raises(
        ValueError,
        match="format 'hourglass-pack-9'; this version reads 'hourglass-pack-1' and 'hourglass-pack-2'",
    ):
        load_records(packed)
    pq.write_table(table.drop_columns(["center"]), packed)
    with pytest.raises(ValueError, match=r"people\.parquet lacks columns of a pack"):
        load_records(packed)


def test_unknown_split_names_those_inside(packed: Path) -> None:
    with pytest.raises(ValueError, match=r"people\.parquet has no split 'val'; it has train"):
        load_records(packed, "val")


@pytest.mark.parametrize("picture", [None, {"bytes": None, "path": "x"}, {"bytes": b"JUNK", "path": "x"}])
def test_a_row_without_its_picture(packed: Path, picture: Any) -> None:
    rewrite(packed, {"image": picture})
    with pytest.raises(
        ValueError, match=r"people\.parquet: the picture in row 1 \(photo1\.png\) is no whole WebP or JPEG"
    ):
        load_records(packed)


def test_a_row_with_half_its_picture(packed: Path) -> None:
    half = pq.read_table(packed).to_pylist()[2]["image"]["bytes"][:-100]
    rewrite(packed, {"image": {"bytes": half, "path": "x"}}, row=2)
    with pytest.raises(ValueError, match=r"people\.parquet: the picture in row 2 \(photo2\.png\)"):
        load_records(packed)


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": [[1.0, 2.0]]},
        {"keypoints": None},
        {"keypoints": [[float("nan")] * 2] * 14},
        {"visibility": [9] * 14},
        {"center": [1.0]},
        {"side_px": None},
        {"side_px": -1.0},
    ],
)
def test_a_row_with_damaged_numbers(packed: Path, change: dict[str, Any]) -> None:
    rewrite(packed, change)
    with pytest.raises(ValueError, match=r"people\.parquet: row 1 is damaged: "):
        load_records(packed)


def test_fewer_people_than_announced(packed: Path) -> None:
    pq.write_table(pq.read_table(packed).slice(0, 2), packed)
    with pytest.raises(ValueError, match="holds 2 people of the split 'train' but announces 3"):
        load_records(packed)
