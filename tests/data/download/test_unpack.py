import io
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from hourglass.data.download import fetch as module
from hourglass.data.download.fetch import ArchiveError, unpack

Make = Callable[..., Path]

PHOTOS = {f"images/im{n}.jpg": os.urandom(700 + n) for n in range(3)}


def zipped(path: Path, members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def files_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("around", ["", "FLIC/", "./"])
def test_folders_and_files_come_out_with_or_without_a_folder_around_them(
    make: Make, around: str, tmp_path: Path
) -> None:
    others = {"examples.mat": b"not wanted", "visualized/im0.jpg": b"neither", "images.txt": b"nor this"}
    members = {
        f"{around}{name}": content for name, content in {**PHOTOS, "joints.mat": b"m", **others}.items()
    }
    archive = make(tmp_path / "archive", members.items())
    root = tmp_path / "data"
    assert unpack(archive, root, ("images/", "joints.mat")) == (4, 0)
    assert files_below(root) == {**PHOTOS, "joints.mat": b"m"}


def test_what_is_there_already_is_kept_and_the_rest_is_added(tmp_path: Path) -> None:
    archive, root = zipped(tmp_path / "a.zip", PHOTOS.items()), tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "im1.jpg").write_bytes(b"x" * len(PHOTOS["images/im1.jpg"]))
    # What a killed process leaves behind.
    (root / "images" / "im2.jpg.part").write_bytes(b"half")
    assert unpack(archive, root, ("images/",)) == (2, 1)
    assert sorted(files_below(root)) == sorted(PHOTOS)
    assert unpack(archive, root, ("images/",)) == (0, 3)


def test_another_file_in_the_way_is_not_written_over(tmp_path: Path) -> None:
    archive, root = zipped(tmp_path / "a.zip", [("joints.mat", b"theirs")]), tmp_path
    (root / "joints.mat").write_bytes(b"mine")
    with pytest.raises(ArchiveError, match=r"joints.mat is in the way of a.zip: .* move it away"):
        unpack(archive, root, ("joints.mat",))
    assert (root / "joints.mat").read_bytes() == b"mine"


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    archive, root = zipped(tmp_path / "a.zip", [("joints.mat", b"theirs")]), tmp_path / "data"
    root.mkdir()
    secret = tmp_path / "secret"
    (root / "joints.mat").symlink_to(secret)
    with pytest.raises(ArchiveError, match="in the way"):
        unpack(archive, root, ("joints.mat",))
    assert not secret.exists()


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["../evil", "images/../../evil", "/evil", "images/..\\..\\evil", "\\evil", "C:\\evil", "C:/evil"]
)
def test_names_that_lead_outside_are_refused(make: Make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", [(name, b"evil")])
    root = tmp_path / "deep" / "data"
    root.mkdir(parents=True)
    with pytest.raises(ArchiveError, match="outside the folder"):
        unpack(archive, root, ("images/", "evil"))
    assert list(files_below(tmp_path)) == ["archive"]


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    info = zipfile.ZipInfo("images/link.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match=r"images/link.jpg is a link or a device"):
        unpack(archive, tmp_path / "data", ("images/",))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_with_a_link_or_device_is_refused(kind: bytes, tmp_path: Path) -> None:
    archive, root = tmp_path / "a.tar", tmp_path / "data"
    info = tarfile.TarInfo("images/odd.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(archive, "w") as content:
        content.addfile(info)
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(archive, root, ("images/",))
    assert not root.exists()


def test_a_linked_folder_in_the_archive_leads_nowhere(tmp_path: Path) -> None:
    """The classic way out: a link to a folder outside, then a file below the link's name."""
    archive, root, outside = tmp_path / "a.tar", tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    link, file = tarfile.TarInfo("images"), tarfile.TarInfo("images/evil")
    link.type, link.linkname, file.size = tarfile.SYMTYPE, str(outside), 4
    with tarfile.open(archive, "w") as content:
        content.addfile(link)
        content.addfile(file, io.BytesIO(b"evil"))
    unpack(archive, root, ("images/",))
    assert not list(outside.iterdir())
    assert not (root / "images").is_symlink()


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["images/zeros.jpg", "other/zeros"])
def test_a_bomb_is_stopped_before_it_goes_off(make: Make, name: str, tmp_path: Path) -> None:
    zeros = bytes(65 << 20)
    deflated = {"method": zipfile.ZIP_DEFLATED} if make is zipped else {}
    archive = make(tmp_path / "bomb", [(name, zeros)], **deflated)
    assert archive.stat().st_size < 100_000
    with pytest.raises(ArchiveError, match=r"over 67,108,864 bytes, which no honest"):
        unpack(archive, tmp_path / "data", ("images/",))
    assert not (tmp_path / "data").exists()


def test_a_member_larger_than_its_header_says_is_not_taken(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("images/a.jpg", bytes(5000))], zipfile.ZIP_DEFLATED)
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(archive, tmp_path / "data", ("images/",))
    assert files_below(tmp_path / "data") == {}


def test_a_member_smaller_than_its_header_says_is_cut_off(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("images/a.jpg", bytes(4099))], zipfile.ZIP_DEFLATED)
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace((4099).to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match=r"a.jpg is cut off|damaged"):
        unpack(archive, tmp_path / "data", ("images/",))
    assert files_below(tmp_path / "data") == {}


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MEMBERS", 2)
    archive = zipped(tmp_path / "a.zip", PHOTOS.items())
    with pytest.raises(ArchiveError, match="over 2 files"):
        unpack(archive, tmp_path / "data", ("images/",))


def test_one_place_twice_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("images/a.jpg", b"1"), ("x/images/a.jpg", b"2")])
    with pytest.raises(ArchiveError, match=r"holds images/a.jpg twice"):
        unpack(archive, tmp_path / "data", ("images/",))


def test_what_apples_archiver_adds_stays_inside(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("images/a.jpg", b"1"), ("__MACOSX/images/._a.jpg", b"2")])
    assert unpack(archive, tmp_path / "data", ("images/",)) == (1, 0)
    assert files_below(tmp_path / "data") == {"images/a.jpg": b"1"}


def test_another_archive_is_named_as_such(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("pictures/a.jpg", b"1")])
    with pytest.raises(ArchiveError, match=r"holds nothing of images/, joints.mat; it is another archive"):
        unpack(archive, tmp_path / "data", ("images/", "joints.mat"))


@pytest.mark.parametrize(
    "content", [b"", b"<html>sign in</html>", b"PK\x03\x04 but no more", b"\x1f\x8b\x08"]
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a.zip is damaged or no archive|a.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "data", ("images/",))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_damage_anywhere_is_told_as_such_or_harmless(make: Make, tmp_path: Path) -> None:
    members = {name: content * 4 for name, content in PHOTOS.items()}
    whole = make(tmp_path / "whole", members.items()).read_bytes()
    draw = random.Random(1)
    for n in range(60):
        damaged = bytearray(whole[: draw.randrange(len(whole))] if n % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 20)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        archive, root = tmp_path / f"{n}", tmp_path / f"data{n}"
        archive.write_bytes(damaged)
        with suppress(ArchiveError):
            unpack(archive, root, ("images/",))
        assert not list(root.rglob("*.part"))


def test_progress_ends_at_the_archives_size(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", PHOTOS.items())
    told: list[tuple[str, int, int | None]] = []
    unpack(archive, tmp_path / "data", ("images/",), lambda *its: told.append(its))
    assert [what for what, _, _ in told] == ["unpacking a.zip"] * 3
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert 0 < done[-1] <= archive.stat().st_size
