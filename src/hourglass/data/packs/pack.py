"""People out of packs: one file, or a set of shards told by its folder, a glob, its index or an address."""

from pathlib import Path

from hourglass.core.structs import PersonRecord
from hourglass.data.packs.open_pack import open_set
from hourglass.data.packs.pack_file import FORMAT, METADATA_KEY, PackFacts, schema
from hourglass.data.packs.shards import open_shard, read_group

__all__ = ["FORMAT", "METADATA_KEY", "PackFacts", "load_records", "read_facts", "schema"]


def read_facts(path: Path | str) -> PackFacts:
    """What a pack, or a set of shards, says about itself, without reading crops. Raises as `load_records`."""
    return open_set(path).facts


def load_records(path: Path | str, split: str = "train") -> list[PersonRecord]:
    """The people of one split, shard after shard. Pictures are the crops' WebP or JPEG bytes and coordinates
    the crops' pixels.

    Args:
        path: a pack; or shards: their folder, a glob, their index; or the address of one of these.

    Raises ValueError or FileNotFoundError, naming the file, when it is missing, cut off, damaged, no
    pack, or has no such split; for one damaged row also naming the row and the photo.
    """
    found = open_set(path)
    found.count(split)
    records: list[PersonRecord] = []
    for number, shard in enumerate(found.shards):
        if shard.people.get(split):
            for group, people in enumerate(open_shard(found, number, split)):
                if people:
                    records += read_group(found, number, group, split)
    return records
