import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hourglass.core import skeleton
from hourglass.data.download.sources import (
    COCO,
    FLIC,
    LSP,
    LSPET,
    MPII,
    SOURCES,
    DataSource,
    RemoteFile,
    find,
    readable,
)
from hourglass.data.formats import flic, lsp, mpii
from hourglass.recipe.data import DATASETS

DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"
FILES = [(source, file) for source in SOURCES for file in source.files]
EACH_FILE = pytest.mark.parametrize(("source", "file"), FILES, ids=lambda x: x.name)
EACH_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def test_data_sets_are_found_by_name_in_any_case() -> None:
    assert [find(source.name) for source in SOURCES] == list(SOURCES)
    assert find("MPII") is MPII


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no data set 'imagenet' .* mpii, lsp, lspet, flic, coco, ap10k"):
        find("imagenet")


@EACH_SOURCE
def test_each_is_read_by_a_reader_of_ours(source: DataSource) -> None:
    assert source.kind in DATASETS
    assert source.terms.endswith(".")
    assert str(source.year) in source.paper
    assert urlsplit(source.home).scheme in ("http", "https")


def test_the_number_of_joints_is_the_readers() -> None:
    for source, of in (
        (MPII, "MPII16"),
        (LSP, "LSP14"),
        (LSPET, "LSP14"),
        (FLIC, "FLIC11"),
        (COCO, "COCO17"),
    ):
        assert source.joints == len(getattr(skeleton, of))


def test_the_splits_are_the_readers() -> None:
    assert [part.split for part in MPII.parts] == list(mpii.SPLITS)
    assert [part.split for part in FLIC.parts] == list(flic.SPLITS)
    for source, splits in ((LSP, lsp.LSP.splits), (LSPET, lsp.LSPET.splits)):
        for part in source.parts:
            first, last = splits[part.split]
            assert part.people == part.pictures == last - first + 1


@EACH_FILE
def test_a_file_has_an_address_and_a_place_below_the_folder(source: DataSource, file: RemoteFile) -> None:
    assert urlsplit(file.address).scheme in ("http", "https")
    assert " " not in file.address
    assert file.seen
    for name in (file.name, *file.also, *file.unpacks):
        assert not name.startswith("/")
        assert ".." not in name
    assert "/" not in file.name or not file.unpacks, "an archive lies in the folder itself"
    assert [other.name for other in source.files].count(file.name) == 1


@EACH_FILE
def test_checksums_look_like_some_and_say_where_they_come_from(source: DataSource, file: RemoteFile) -> None:
    assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
    assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)
    assert file.size is None or file.size > 0
    known = file.size is not None or file.size_said or file.sha256 or file.md5
    assert bool(known) == bool(file.proof)


@EACH_FILE
def test_without_a_checksum_nothing_is_fetched_over_an_open_line(
    source: DataSource, file: RemoteFile
) -> None:
    proven = file.sha256 or file.md5
    assert proven or file.by_hand or file.address.startswith("https://")


def test_sizes_are_told_in_decimal_units() -> None:
    told = [readable(size) for size in (0, 999, 1_000, 815_585_330, 19_336_861_798)]
    assert told == ["0 bytes", "999 bytes", "1.0 kB", "815.6 MB", "19.3 GB"]


def overview_row(source: DataSource) -> str:
    people, pictures = (sum(getattr(part, what) for part in source.parts) for what in ("people", "pictures"))
    title = f"[{source.title}]({source.home}), {source.year}"
    cells = (f"`{source.name}`", title, f"{people:,}", f"{pictures:,}", str(source.joints), source.licence)
    return f"| {' | '.join(cells)} |"


def file_row(source: DataSource, file: RemoteFile) -> str:
    checksum = "SHA-256" if file.sha256 else "MD5" if file.md5 else "unknown"
    how = "by hand" if file.by_hand else "`get`"
    how += ", with --only" if file.extra else ""
    return f"| `{source.name}` | `{file.name}` | {file.how_large} | {checksum} | {how} |"


def test_the_page_has_the_table_and_no_other_rows() -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [overview_row(source) for source in SOURCES] + [file_row(*pair) for pair in FILES]


@EACH_SOURCE
def test_the_page_has_terms_and_layout(source: DataSource) -> None:
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    assert source.terms in text
    for path, _ in source.layout:
        assert path in text


@pytest.mark.realdata
def test_real_files_have_the_sizes_and_checksums_of_the_table(real_data: Path) -> None:
    """MPII's valid.h5 ties our copy to an MD5 that somebody else published."""
    found = 0
    for source, file in FILES:
        for name in (file.name, *file.also):
            path = real_data / source.name / name
            if not path.is_file():
                continue
            content = path.read_bytes()
            assert file.size == len(content)
            assert file.sha256 == hashlib.sha256(content).hexdigest()
            assert file.md5 in ("", hashlib.md5(content).hexdigest())
            found += 1
    assert found == 5
