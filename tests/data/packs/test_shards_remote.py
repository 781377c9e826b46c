"""Shards behind a web server on this machine, well-behaved and not."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hourglass.data.loading.loader import training_batches
from hourglass.data.packs import shards
from hourglass.data.packs.open_pack import load_records, open_set
from hourglass.data.packs.shards import ShardError, StreamedCrops
from hourglass.recipe.recipe import AugmentRecipe
from shard_cases import sharded, small_groups


@dataclass
class Site:
    """A folder on the web.

    Args:
        cuts: of how many bytes each of the next answers to a GET is really sent.
        statuses: what the next requests are answered with.
        ranges: whether it can send part of a file.
        sent: bytes sent of each file.
    """

    folder: Path
    address: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    sent: dict[str, int] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_HEAD(self) -> None:
        if self.site.statuses:
            self.send_error(self.site.statuses.pop(0))
        else:
            self.answer(body=False)

    def do_GET(self) -> None:
        if self.site.statuses:
            self.send_error(self.site.statuses.pop(0))
        else:
            self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.site.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content, total = path.read_bytes(), path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.site.ranges:
            first, last = int(wanted[1]), int(wanted[2] or total - 1)
            content = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{total}")
        else:
            self.send_response(200)
        if self.site.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            cut = self.site.cuts.pop(0) if self.site.cuts else len(content)
            self.wfile.write(content[:cut])
            self.site.sent[path.name] = self.site.sent.get(path.name, 0) + len(content[:cut])

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneSite", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    small_groups(monkeypatch)
    monkeypatch.setattr(shards, "WAITS_S", (0.0, 0.0))
    sharded(tmp_path)
    with served(tmp_path) as made:
        yield made


def test_a_set_is_read_by_its_index(site: Site, tmp_path: Path) -> None:
    want = [(r.person_id, r.image) for r in load_records(tmp_path, "val")]
    assert [(r.person_id, r.image) for r in load_records(f"{site.address}/people.index.json", "val")] == want


def test_one_pack_is_read_by_its_address(site: Site, tmp_path: Path) -> None:
    name = "people-00002-of-00005.parquet"
    want = [r.person_id for r in load_records(tmp_path / name)]
    assert [r.person_id for r in load_records(f"{site.address}/{name}")] == want


def stream_of(site: Site, buffer: int = 4) -> StreamedCrops:
    found = open_set(f"{site.address}/people.index.json")
    return StreamedCrops(found, "train", 32, AugmentRecipe(), 0, buffer)


def test_batches_over_the_network_are_those_from_here(site: Site, tmp_path: Path) -> None:
    local = StreamedCrops(open_set(tmp_path), "train", 32, AugmentRecipe(), 0, 4)
    batches = list(islice(training_batches(stream_of(site), 4, 0, 1), 12))
    for a, b in zip(batches, training_batches(local, 4, 0, 1), strict=False):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.keypoints, b.keypoints)


def test_a_rank_fetches_its_own_shards_and_groups_only(site: Site, tmp_path: Path) -> None:
    crops = stream_of(site)
    batches = training_batches(crops, 10, 0, 1, rank=0, ranks=5)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    fetched = {name: size for name, size in site.sent.items() if name.endswith(".parquet")}
    assert list(fetched) == ["people-00000-of-00005.parquet"]


def test_a_cut_connection_is_tried_again(site: Site, tmp_path: Path) -> None:
    batches = training_batches(stream_of(site), 4, 0, 1)
    first = next(batches)
    site.cuts = [30, 0]
    rest = list(islice(batches, 9))
    assert not site.cuts
    local = StreamedCrops(open_set(tmp_path), "train", 32, AugmentRecipe(), 0, 4)
    for a, b in zip([first, *rest], training_batches(local, 4, 0, 1), strict=False):
        assert np.array_equal(a.image, b.image)


def test_a_server_that_fails_now_and_then(site: Site) -> None:
    # fsspec asks twice, by HEAD and by GET, before it gives an attempt up.
    site.statuses = [503, 500, 503, 500]
    assert open_set(f"{site.address}/people.index.json").count("train") == 43


def test_a_server_that_keeps_cutting_ends_in_a_sentence(site: Site) -> None:
    batches = training_batches(stream_of(site), 4, 0, 1)
    next(batches)
    site.cuts = [10] * 1000
    with pytest.raises(
        ShardError,
        match=r"cannot read http://.*people-0000\d-of-00005\.parquet near row \d+ after 3 attempts \(",
    ):
        list(islice(batches, 20))


def test_a_shard_that_the_server_lacks(site: Site, tmp_path: Path) -> None:
    (tmp_path / "people-00000-of-00005.parquet").unlink()
    with pytest.raises(
        ShardError,
        match=r"cannot read http://.*people-00000-of-00005\.parquet at its end: there is no such file",
    ):
        load_records(f"{site.address}/people.index.json")
    with pytest.raises(ShardError, match=r"cannot read http://.*none\.index\.json: there is no such file"):
        open_set(f"{site.address}/none.index.json")


def test_a_truncated_shard_at_an_address(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "people-00000-of-00005.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        ShardError,
        match=r"cannot read http://.*people-00000-of-00005\.parquet at its end after 3 attempts \(",
    ):
        load_records(f"{site.address}/people.index.json")


def test_a_server_that_cannot_send_parts(site: Site) -> None:
    site.ranges = False
    with pytest.raises(ShardError, match=r"http://.*\.parquet can't send parts of a file; fetch it and give"):
        load_records(f"{site.address}/people-00000-of-00005.parquet")


def test_addresses_that_lead_nowhere(site: Site) -> None:
    with pytest.raises(
        ShardError, match=r"is no \.parquet file; a folder at an address is read by its index"
    ):
        open_set(site.address + "/")
    with pytest.raises(
        ShardError, match=r"cannot read nothing://bucket/a\.parquet .*Protocol not known: nothing"
    ):
        open_set("nothing://bucket/a.parquet")
    site_gone = "http://127.0.0.1:9/people.index.json"
    with pytest.raises(ShardError, match=r"cannot read http://127\.0\.0\.1:9/people\.index\.json after 3"):
        open_set(site_gone)


def test_another_store_through_fsspec(site: Site, tmp_path: Path) -> None:
    """Memory stands for S3 or Hugging Face: an index, and a glob over what it lists."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in tmp_path.iterdir():
        if path.is_file():
            memory.pipe(f"/set/{path.name}", path.read_bytes())
    want = [r.person_id for r in load_records(tmp_path)]
    assert [r.person_id for r in load_records("memory://set/people.index.json")] == want
    assert [r.person_id for r in load_records("memory://set/people-*.parquet")] == want
    memory.rm("/set/people-00001-of-00005.parquet")
    with pytest.raises(ShardError, match=r"memory://.*people-00001-of-00005\.parquet is missing"):
        load_records("memory://set/people-*.parquet")
