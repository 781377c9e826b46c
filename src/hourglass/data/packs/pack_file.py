"""One Parquet file of crops, opened and checked: what a pack, or a shard of a set of them, consists of.

A crop is centred on the person and has a margin, so that rotation and shrinking still find real pixels.
The file is plain Parquet; the column `image` is a struct of bytes and path, as Hugging Face datasets
write pictures, and `schema` names the rest. Skeleton and settings lie in the schema's metadata, as JSON
under `hourglass`. `write_pack.py` writes it; `open_pack.py` and `shards.py` read people out of it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from hourglass.core.files import reason
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "hourglass-pack-3"
READS = ("hourglass-pack-1", "hourglass-pack-2", FORMAT)
"""The first format held WebP only and did not say so; before the third no label had a weight."""

METADATA_KEY = b"hourglass"
CODECS = ("webp", "jpeg")


class PackError(ValueError):
    """A file that is no pack, or a damaged one; the message names it."""


class PackedPicture(bytes):
    """A crop's file as `write_pack.py` writes it: whole, RGB, upright, WebP or baseline JPEG.

    `dataset.read_picture` gives such bytes to OpenCV; any other bytes need Pillow's patience.
    """

    __slots__ = ()


@dataclass(frozen=True)
class PackFacts:
    """What a pack says about itself.

    Args:
        skeleton: of every person in it.
        crop_px: largest side of a crop; people who are smaller in their photo keep its pixels.
        margin: side of the crop over the person's `side_px`.
        quality: of the pictures, 1 to 100.
        source: what was packed, in words.
        people: how many, by split.
        codec: of the pictures, one of `CODECS`.
    """

    skeleton: Skeleton
    crop_px: int
    margin: float
    quality: int
    source: str
    people: dict[str, int]
    codec: str = "webp"

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
            # How much each label counts in training; null where all count fully.
            ("weight", pa.list_(pa.float32())),
        ]
    )


def open_parquet(path: Path, metadata: Any = None) -> Any:
    """A `pyarrow.parquet.ParquetFile` of a file here; `metadata` spares reading the footer again.

    Raises FileNotFoundError or ValueError, naming the file, when it is missing, cut off or no Parquet file.
    """
    import pyarrow as pa

    if not path.is_file():
        raise FileNotFoundError(f"there is no pack {path}; write one with `hourglass data pack`")
    try:
        return parquet(path, metadata)
    except (pa.ArrowException, OSError) as error:
        with open(path, "rb") as file:
            begun = file.read(4) == b"PAR1"
        what = "is cut off or damaged; pack it again" if begun else "is no Parquet file, so no pack"
        raise PackError(f"{path} {what} ({reason(error, first_line=True)})") from error


def parquet(source: Path | BinaryIO, metadata: Any = None) -> Any:
    """A `pyarrow.parquet.ParquetFile` that checks what it reads; `metadata` spares reading the footer."""
    import pyarrow.parquet as pq

    # The columns of a group lie side by side: one read instead of fifteen, which counts over a network.
    return pq.ParquetFile(source, metadata=metadata, pre_buffer=True, page_checksum_verification=True)


def facts_of(found: "pa.Schema", name: object) -> PackFacts:
    """What a file with these columns says about itself. Raises ValueError, with its `name`, for no pack."""
    try:
        raw = json.loads((found.metadata or {})[METADATA_KEY])
        written = raw.pop("format")
        if written not in READS:
            known = " and ".join(repr(word) for word in READS)
            raise PackError(f"{name} is a pack of the format {written!r}; this version reads {known}")
        columns = schema() if written == FORMAT else schema().remove(schema().get_field_index("weight"))
        if not found.equals(columns, check_metadata=False):
            raise PackError(f"{name} lacks columns of a pack, or has others; pack it again")
        return facts_from(raw)
    except PackError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise PackError(f"{name} is a Parquet file, but no pack that `hourglass data pack` wrote") from error


def facts_from(raw: dict[str, Any]) -> PackFacts:
    """Facts out of JSON. Raises KeyError, TypeError, AttributeError or ValueError for anything else."""
    facts = PackFacts(**{**raw, "skeleton": Skeleton.from_dict(raw["skeleton"])})
    whole = (facts.crop_px, facts.quality, *facts.people.values())
    if not all(isinstance(number, int) and number >= 0 for number in whole):
        raise TypeError("people, sides and quality must be whole numbers")
    if not isinstance(facts.margin, int | float) or facts.codec not in CODECS:
        raise TypeError("the margin is no number, or the codec is unknown")
    return facts


def rows_by_group(file: Any, split: str) -> list[int]:
    """How many people of a split each group of rows has; told by the groups' statistics where these do."""
    counts = []
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        columns = (group.column(i) for i in range(group.num_columns))
        told = next(c for c in columns if c.path_in_schema == "split").statistics
        if told is not None and told.has_min_max and told.min == told.max and not told.null_count:
            counts.append(group.num_rows if told.min == split else 0)
        else:
            names = file.read_row_group(number, columns=["split"]).column("split").to_pylist()
            counts.append(names.count(split))
    return counts


def records_of_group(
    file: Any, name: object, number: int, first_row: int, skeleton: Skeleton, split: str
) -> list[PersonRecord]:
    """The people of a split in one group of rows, whose first is the file's row `first_row`.

    Raises ValueError naming the row and the photo of a damaged person; Arrow's own errors pass.
    """
    rows = file.read_row_group(number).to_pylist()
    return [
        _record(row, skeleton, name, first_row + offset)
        for offset, row in enumerate(rows)
        if row["split"] == split
    ]


def _whole(image: bytes) -> bool:
    """Whether a picture is a JPEG or WebP with both its ends, told without decoding it."""
    if image[:2] == b"\xff\xd8":
        return image[-2:] == b"\xff\xd9"
    riff = image[:4] == b"RIFF" and image[8:12] == b"WEBP"
    return riff and int.from_bytes(image[4:8], "little") + 8 == len(image)


def _record(row: dict[str, Any], skeleton: Skeleton, name: object, number: int) -> PersonRecord:
    image_id = row["image_id"]
    image = (row["image"] or {}).get("bytes") or b""
    if not _whole(image):
        raise PackError(
            f"{name}: the picture in row {number} ({image_id}) is no whole WebP or JPEG file; pack it again"
        )
    try:
        return PersonRecord(
            image=PackedPicture(image),
            image_id=image_id,
            person_id=row["person_id"],
            skeleton=skeleton,
            keypoints=np.array(row["keypoints"], dtype=np.float32),
            visibility=np.array(row["visibility"], dtype=np.uint8),
            center=np.array(row["center"], dtype=np.float32),
            side_px=row["side_px"],
            weight=None if row.get("weight") is None else np.array(row["weight"], dtype=np.float32),
        )
    except (ValueError, TypeError) as error:
        raise PackError(f"{name}: row {number} is damaged: {error}") from error
