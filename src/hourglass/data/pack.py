"""A compact store of crops: one Parquet file with every person of some splits, cut out once.

A crop is centred on the person and has a margin, so that rotation and shrinking still find real pixels.
The file is plain Parquet; the column `image` is a struct of bytes and path, as Hugging Face datasets
write pictures, and `SCHEMA` names the rest. Skeleton and settings lie in the schema's metadata, as JSON
under `hourglass`. `packing.py` writes it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hourglass.skeleton import Skeleton
from hourglass.structs import PersonRecord

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "hourglass-pack-1"
METADATA_KEY = b"hourglass"


@dataclass(frozen=True)
class PackFacts:
    """What a pack says about itself.

    Args:
        skeleton: of every person in it.
        crop_px: largest side of a crop; people who are smaller in their photo keep its pixels.
        margin: side of the crop over the person's `side_px`.
        quality: of the WebP pictures, 1 to 100.
        source: what was packed, in words.
        people: how many, by split.
    """

    skeleton: Skeleton
    crop_px: int
    margin: float
    quality: int
    source: str
    people: dict[str, int]

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "format": FORMAT, "skeleton": self.skeleton.to_dict()})


def schema() -> "pa.Schema":
    """The columns. Coordinates are pixels of the crop, 0-based, an integer is a pixel's centre."""
    import pyarrow as pa

    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("image_id", pa.string()),
            ("person_id", pa.int64()),
            ("split", pa.string()),
            ("keypoints", pa.list_(pa.list_(pa.float32()))),
            ("visibility", pa.list_(pa.uint8())),
            ("center", pa.list_(pa.float32())),
            ("side_px", pa.float64()),
            # a b c d e f: the crop's (u, v) lies at (a u + b v + c, d u + e v + f) of the photo.
            ("crop_to_orig", pa.list_(pa.float64())),
        ]
    )


def read_facts(path: Path) -> PackFacts:
    """What a pack says about itself, without reading the crops. Raises as `load_records`."""
    return _facts(_open(path).schema_arrow, path)


def load_records(path: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split. Pictures are the crops' WebP bytes and coordinates the crops' pixels.

    Raises ValueError or FileNotFoundError, naming the file, when it is missing, cut off, damaged, no
    pack, or has no such split; for one damaged row also naming the row and the photo.
    """
    import pyarrow as pa

    file = _open(path)
    facts = _facts(file.schema_arrow, path)
    if split not in facts.people:
        raise ValueError(f"{path} has no split {split!r}; it has {', '.join(facts.people)}")
    records = []
    row = 0
    try:
        # The splits' names are small: groups of rows that hold none of this one are never read.
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=["split"]).column("split").to_pylist()
            if split in names:
                table = file.read_row_group(group)
                for offset, entry in enumerate(table.to_pylist()):
                    if entry["split"] == split:
                        records.append(_record(entry, facts.skeleton, path, row + offset))
            row += len(names)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged near row {row}; pack it again ({_first_line(error)})") from error
    if len(records) != facts.people[split]:
        raise ValueError(
            f"{path} holds {len(records)} people of the split {split!r} but announces {facts.people[split]}; "
            "pack it again"
        )
    return records


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a pack file, as `hourglass data pack` writes it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no pack {path}; write one with `hourglass data pack`")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        with open(path, "rb") as file:
            begun = file.read(4) == b"PAR1"
        what = "is cut off or damaged; pack it again" if begun else "is no Parquet file, so no pack"
        raise ValueError(f"{path} {what} ({_first_line(error)})") from error


def _facts(found: "pa.Schema", path: Path) -> PackFacts:
    try:
        raw = json.loads((found.metadata or {})[METADATA_KEY])
        written = raw.pop("format")
        if written != FORMAT:
            raise ValueError(f"{path} is a pack of the format {written!r}; this version reads {FORMAT!r}")
        if not found.equals(schema(), check_metadata=False):
            raise ValueError(f"{path} lacks columns of a pack, or has others; pack it again")
        return PackFacts(**{**raw, "skeleton": Skeleton.from_dict(raw["skeleton"])})
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is a Parquet file, but no pack that `hourglass data pack` wrote") from error


def _record(entry: dict[str, Any], skeleton: Skeleton, path: Path, row: int) -> PersonRecord:
    image_id = entry["image_id"]
    image = (entry["image"] or {}).get("bytes") or b""
    # RIFF's own length tells a cut picture without decoding it.
    whole = image[:4] == b"RIFF" and image[8:12] == b"WEBP"
    if not whole or int.from_bytes(image[4:8], "little") + 8 != len(image):
        raise ValueError(
            f"{path}: the picture in row {row} ({image_id}) is no whole WebP file; pack it again"
        )
    try:
        return PersonRecord(
            image=image,
            image_id=image_id,
            person_id=entry["person_id"],
            skeleton=skeleton,
            keypoints=np.array(entry["keypoints"], dtype=np.float32),
            visibility=np.array(entry["visibility"], dtype=np.uint8),
            center=np.array(entry["center"], dtype=np.float32),
            side_px=entry["side_px"],
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: row {row} is damaged: {error}") from error
