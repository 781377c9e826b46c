import fcntl
import hashlib
import io
import os
import resource
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request

import pytest

from file_server import CONTENT, Shelf, served
from hourglass.data.download import fetch as module
from hourglass.data.download.fetch import FetchError, TermsNotAccepted, download, fetch
from hourglass.data.download.sources import LSPET, DataSource, RemoteFile


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served() as made:
        yield made


def source_of(*files: RemoteFile) -> DataSource:
    return replace(LSPET, files=files)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_and_nothing_else_is_left(shelf: Shelf, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    download(shelf.file(), tmp_path / "file.bin", lambda *its: told.append(its))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["file.bin"]
    assert shelf.asked == [("/file.bin", "", "")]
    assert ("fetching file.bin", 300_000, 300_000) in told


def test_a_cut_connection_is_taken_up_where_it_broke(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cuts = [100_000, 50_000]
    download(shelf.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [(wanted, tag) for _, wanted, tag in shelf.asked] == [
        ("", ""),
        ("bytes=100000-", '"one"'),
        ("bytes=150000-", '"one"'),
    ]


def test_a_later_command_goes_on_where_an_earlier_one_gave_up(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.cuts = [100_000] + [0] * 3
    monkeypatch.setattr(module, "TRIES", 3)
    with pytest.raises(
        FetchError, match=r"ended after 100,000 of 300,000 bytes\. 100,000 bytes are in .*again"
    ):
        download(shelf.file(), tmp_path / "file.bin")
    assert names_in(tmp_path) == ["file.bin.part", "file.bin.part.version"]
    shelf.asked.clear()
    download(shelf.file(), tmp_path / "file.bin")
    assert shelf.asked == [("/file.bin", "bytes=100000-", '"one"')]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names_in(tmp_path) == ["file.bin"]


def test_without_range_it_starts_anew(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ranges, shelf.cuts = False, [100_000]
    download(shelf.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(shelf.asked) == 2


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_half(shelf: Shelf, tmp_path: Path) -> None:
    newer = os.urandom(300_000)
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:100_000])
    (tmp_path / "file.bin.part.version").write_text('"older"')
    shelf.files["/file.bin"] = newer
    download(shelf.file(size=None, sha256=""), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == newer


def test_half_a_file_of_unknown_origin_is_dropped_where_no_checksum_would_tell(
    shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"whatever")
    download(shelf.file(size=None, sha256=""), tmp_path / "file.bin")
    assert shelf.asked == [("/file.bin", "", "")]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_half_a_file_with_a_known_checksum_is_used_without_a_version(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:200_000])
    download(shelf.file(), tmp_path / "file.bin")
    assert shelf.asked == [("/file.bin", "bytes=200000-", "")]


def test_a_whole_part_is_used_without_a_connection(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(shelf.file(), tmp_path / "file.bin")
    assert shelf.asked == []
    assert names_in(tmp_path) == ["file.bin"]


def test_another_part_than_was_asked_for_is_not_glued_on(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    shelf.slip = 5
    with pytest.raises(
        FetchError, match="asked for bytes from 1000 on, but sends 'bytes 1005-299999/300000'"
    ):
        download(shelf.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:1000]


def test_a_part_longer_than_the_file_starts_anew(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(bytes(400_000))
    download(shelf.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted, _ in shelf.asked] == ["bytes=400000-", ""]


def test_a_wrong_checksum_keeps_the_file_as_bad(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files["/file.bin"] = wrong = os.urandom(300_000)
    with pytest.raises(FetchError, match=r"sent has the sha256 [0-9a-f]{64} where .* kept as .*file.bin.bad"):
        download(shelf.file(), tmp_path / "file.bin")
    assert names_in(tmp_path) == ["file.bin.bad"]
    assert (tmp_path / "file.bin.bad").read_bytes() == wrong


def test_md5_counts_where_nothing_better_is_known(shelf: Shelf, tmp_path: Path) -> None:
    good = hashlib.md5(CONTENT).hexdigest()
    download(shelf.file(sha256="", md5=good), tmp_path / "file.bin")
    with pytest.raises(FetchError, match=f"has the md5 {good} where {'0' * 32} is expected"):
        download(shelf.file(sha256="", md5="0" * 32), tmp_path / "other.bin")


def test_another_length_is_refused_before_a_byte_is_written(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="has 300,000 bytes now where 299,999 are expected"):
        download(shelf.file(size=299_999), tmp_path / "file.bin")
    assert names_in(tmp_path) == []


def test_another_length_leaves_what_was_fetched_before(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    shelf.ranges = False
    with pytest.raises(FetchError, match="another file"):
        download(shelf.file(size=299_999), tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:1000]


def test_a_web_page_instead_of_the_file_is_told_as_such(shelf: Shelf, tmp_path: Path) -> None:
    shelf.kind = "text/html; charset=utf-8"
    with pytest.raises(FetchError, match=r"answers with a web page instead of file.bin; see http://home"):
        download(shelf.file(size=None), tmp_path / "file.bin", home="http://home")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(status: int, shelf: Shelf, tmp_path: Path) -> None:
    shelf.statuses = [status]
    with pytest.raises(
        FetchError, match=rf"answers {status} .* found in a test; see http://home for another"
    ):
        download(shelf.file(), tmp_path / "file.bin", home="http://home")
    assert len(shelf.asked) == 1
    assert names_in(tmp_path) == []


def test_a_busy_server_is_asked_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.statuses = [503, 429]
    download(shelf.file(), tmp_path / "file.bin")
    assert len(shelf.asked) == 3


def test_nobody_there_is_told_after_some_tries(shelf: Shelf, tmp_path: Path) -> None:
    shelf.statuses = [500] * 9
    with pytest.raises(FetchError, match="could not be had: the server answers 500"):
        download(shelf.file(), tmp_path / "file.bin")
    assert len(shelf.asked) == module.TRIES
    with pytest.raises(FetchError, match=r"could not be had: .*refused"):
        download(shelf.file(address="http://127.0.0.1:1/file.bin"), tmp_path / "file.bin")


def test_a_file_of_untold_length_ends_where_the_server_says(shelf: Shelf, tmp_path: Path) -> None:
    shelf.length = False
    download(shelf.file(size=None), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_an_empty_file_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files["/file.bin"] = b""
    with pytest.raises(FetchError, match="sent is empty"):
        download(shelf.file(size=None, sha256=""), tmp_path / "file.bin")


def test_the_address_may_have_moved(shelf: Shelf, tmp_path: Path) -> None:
    shelf.moved["/old.bin"] = "/file.bin"
    download(shelf.file(address=f"http://127.0.0.1:{shelf.port}/old.bin"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/file.bin"])
def test_it_is_not_sent_anywhere_but_the_web(address: str, shelf: Shelf, tmp_path: Path) -> None:
    shelf.moved["/file.bin"] = address
    with pytest.raises(FetchError, match=r"not allowed|no safe address"):
        download(shelf.file(size=None, sha256=""), tmp_path / "file.bin")
    assert names_in(tmp_path) == []


def test_it_is_not_sent_from_a_closed_line_to_an_open_one() -> None:
    asked = Request("https://there.example/file.bin")
    handler = module._Redirects()
    with pytest.raises(FetchError, match=r"sends us on to http://there.example/x, which is no safe address"):
        handler.redirect_request(asked, None, 302, "Found", {}, "http://there.example/x")


def test_a_disk_that_refuses_to_be_written_is_named_and_the_beginning_kept(
    shelf: Shelf, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*file.bin.part"):
            download(shelf.file(), tmp_path / "file.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:120_000]
    download(shelf.file(), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_disk_without_room_is_told_first(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=299_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="300,000 bytes to come, more than the disk has free"):
        download(shelf.file(), tmp_path / "file.bin")
    assert names_in(tmp_path) == []


def test_two_at_once_do_not_write_one_file(shelf: Shelf, tmp_path: Path) -> None:
    with (tmp_path / "file.bin.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="being written by another process"):
            download(shelf.file(), tmp_path / "file.bin")


def archive_of(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name in names:
            packed.writestr(name, name.encode())
    return content.getvalue()


def test_a_data_set_is_fetched_and_unpacked_once(shelf: Shelf, tmp_path: Path) -> None:
    packed = archive_of("joints.mat", "images/a.jpg", "README.txt")
    shelf.files["/set.zip"] = packed
    source = source_of(
        shelf.file("set.zip", packed, unpacks=("joints.mat", "images/")),
        shelf.file("annot/train.h5", address=f"http://127.0.0.1:{shelf.port}/file.bin", also=("train.h5",)),
    )
    root = tmp_path / "new" / "root"
    done = [(its.name, its.done, its.failed) for its in fetch(source, root, accepted=True)]
    assert done == [("set.zip", "fetched, 2 files unpacked", ""), ("annot/train.h5", "fetched", "")]
    assert (root / "images" / "a.jpg").read_bytes() == b"images/a.jpg"
    assert (root / "annot" / "train.h5").read_bytes() == CONTENT
    assert not (root / "README.txt").exists()

    shelf.asked.clear()
    (root / "set.zip").unlink()
    again = [its.done for its in fetch(source, root, accepted=True)]
    assert again == ["was unpacked before (delete .unpacked-set.zip.json to do it again)", "was there"]
    assert shelf.asked == []


def test_without_acceptance_nothing_happens_at_all(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(TermsNotAccepted, match="the terms of Leeds Sports Pose Extended were not accepted"):
        fetch(source_of(shelf.file()), tmp_path / "root")
    assert shelf.asked == []
    assert not (tmp_path / "root").exists()


def test_an_archive_put_there_by_hand_is_checked_and_unpacked(shelf: Shelf, tmp_path: Path) -> None:
    packed = archive_of("joints.mat", "images/a.jpg")
    file = shelf.file("set.zip", packed, unpacks=("joints.mat", "images/"), by_hand="it wants a browser")
    [outcome] = fetch(source_of(file), tmp_path, accepted=True)
    assert "must be had by hand, since it wants a browser" in outcome.failed
    assert f"Put it at {tmp_path / 'set.zip'}" in outcome.failed
    (tmp_path / "set.zip").write_bytes(packed[:-1])
    [outcome] = fetch(source_of(file), tmp_path, accepted=True)
    assert "has" in outcome.failed
    assert "move it away" in outcome.failed
    (tmp_path / "set.zip").write_bytes(packed)
    [outcome] = fetch(source_of(file), tmp_path, accepted=True)
    assert outcome.done == "was there, 2 files unpacked"
    assert shelf.asked == []


def test_one_failure_does_not_keep_the_others(shelf: Shelf, tmp_path: Path) -> None:
    hostile = archive_of("../evil")
    shelf.files["/set.zip"] = hostile
    files = (shelf.file("gone.bin"), shelf.file("set.zip", hostile, unpacks=("images/",)), shelf.file())
    outcomes = fetch(source_of(*files), tmp_path / "root", accepted=True)
    assert [bool(its.failed) for its in outcomes] == [True, True, False]
    assert "404" in outcomes[0].failed
    assert "outside the folder" in outcomes[1].failed
    assert names_in(tmp_path) == ["root"]
    assert names_in(tmp_path / "root") == ["file.bin", "set.zip"]


def test_only_what_is_named_is_fetched_and_extras_only_then(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files["/annot/more.bin"] = CONTENT
    source = source_of(shelf.file(), shelf.file("annot/more.bin", extra=True))
    assert [its.name for its in fetch(source, tmp_path / "usual", accepted=True)] == ["file.bin"]
    named = fetch(source, tmp_path / "named", accepted=True, only=["more.bin"])
    assert [its.name for its in named] == ["annot/more.bin"]
    with pytest.raises(
        ValueError, match=r"has no file 'x.zip' in our table; it has file.bin, annot/more.bin"
    ):
        fetch(source, tmp_path / "unknown", accepted=True, only=["x.zip"])
    assert not (tmp_path / "unknown").exists()
