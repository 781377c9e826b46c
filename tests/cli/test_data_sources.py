import hashlib
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import typer
from typer.testing import CliRunner, Result

from file_server import served
from hourglass.cli import data_sources
from hourglass.data.download import sources
from hourglass.data.download.sources import LSP, SOURCES, RemoteFile

app = typer.Typer()
app.command()(data_sources.where)
app.command()(data_sources.check)
app.command()(data_sources.get)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


@pytest.fixture
def no_net(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.usefixtures("no_net")
def test_where_lists_all_with_their_terms() -> None:
    answer = run("where")
    assert answer.exit_code == 0
    for source in SOURCES:
        [line] = [line for line in answer.stdout.splitlines() if line.startswith(f"{source.name} ")]
        assert source.licence in line
    assert "None was opened from the machine" in answer.stdout


@pytest.mark.usefixtures("no_net")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_where_tells_all_of_one(source: sources.DataSource) -> None:
    told = run("where", source.name).stdout
    assert source.terms in told
    assert source.home in told
    for file in source.files:
        for part in (
            file.address,
            file.sha256,
            file.md5,
            file.by_hand,
            file.how_large,
            *file.seen.split(";"),
        ):
            assert part in told
    for path, what in source.layout:
        assert path in told
        assert what in told
    assert f"data.name={source.kind}" in told


def test_where_as_json(tmp_path: Path) -> None:
    content = json.loads(run("where", "flic", "--json", "-").stdout)
    [flic] = content["datasets"]
    assert flic["files"][0]["size"] == 300_257_553
    assert run("where", "--json", str(tmp_path / "new" / "all.json")).stdout.startswith("name")
    everything = json.loads((tmp_path / "new" / "all.json").read_text())
    assert [its["name"] for its in everything["datasets"]] == [source.name for source in SOURCES]
    with pytest.raises(ValueError, match="is a folder"):
        run("where", "--json", str(tmp_path))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of one file, named lsp, on a server that isn't there yet."""
    content = b"the whole data set"
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "note.txt").write_bytes(content)
    file = RemoteFile(
        name="note.txt",
        holds="a note",
        address="http://127.0.0.1:9/note.txt",
        seen="in a test",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setattr(sources, "SOURCES", (replace(LSP, files=(file,), parts=()),))
    return tmp_path


@pytest.mark.usefixtures("no_net")
def test_check_exits_0_when_whole_and_1_when_not(tiny: Path) -> None:
    answer = run("check", "lsp", str(tiny / "served"))
    assert answer.exit_code == 0
    assert "all as expected" in answer.stdout
    (tiny / "served" / "note.txt").write_bytes(b"something else")
    answer = run("check", "lsp", str(tiny / "served"), "--json", "-")
    assert answer.exit_code == 1
    report = json.loads(answer.stdout)
    assert report["whole"] is False
    assert report["files"][0]["state"] == "wrong"
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run("check", "lsp", str(tiny / "gone"))


@pytest.mark.usefixtures("no_net")
def test_check_tells_part_of_a_data_set(tmp_path: Path) -> None:
    answer = run("check", "flic", str(tmp_path))
    assert answer.exit_code == 1
    assert "train: no annotations: none of annot/train.h5, train.h5" in answer.stdout
    assert "0 of 5,003 people, 0 of 4,554 pictures: something is missing or different" in answer.stdout


def test_check_leaves_checksums_away_when_told(tiny: Path) -> None:
    (tiny / "served" / "note.txt").write_bytes(b"THE WHOLE DATA SET")
    assert run("check", "lsp", str(tiny / "served")).exit_code == 1
    assert run("check", "lsp", str(tiny / "served"), "--no-checksums").exit_code == 0


@pytest.mark.usefixtures("no_net")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_get_without_acceptance_says_what_it_would_do_and_opens_nothing(
    source: sources.DataSource, tmp_path: Path
) -> None:
    answer = run("get", source.name, str(tmp_path / "new"))
    assert answer.exit_code == 2
    assert source.terms in answer.stdout
    for file in source.files:
        assert (f"fetch {file.name} ({file.how_large})" in answer.stdout) is not file.extra
    assert "nothing was fetched; add --accept-terms" in answer.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("no_net")
def test_get_sums_up_what_is_to_come(tmp_path: Path) -> None:
    assert "in all: 20.4 GB, and about" in run("get", "coco", str(tmp_path)).stdout
    assert "in all: 815.6 MB," in run("get", "coco", str(tmp_path), "--only", "val2017.zip").stdout
    assert "in all: nothing to fetch" in run("get", "lspet", str(tmp_path)).stdout
    (tmp_path / "val2017.zip").write_bytes(b"")
    told = run("get", "coco", str(tmp_path)).stdout
    assert "val2017.zip is there and would be checked and unpacked" in told
    assert "in all: 19.6 GB," in told


@pytest.mark.usefixtures("no_net")
def test_get_refuses_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set 'imagenet'"):
        run("get", "imagenet", str(tmp_path), "--accept-terms")
    with pytest.raises(ValueError, match="has no file 'x'"):
        run("get", "mpii", str(tmp_path), "--only", "x", "--accept-terms")


def test_get_fetches_from_a_server(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source = sources.SOURCES[0]
    with served() as shelf:
        shelf.files["/note.txt"] = (tiny / "served" / "note.txt").read_bytes()
        good = replace(source.files[0], address=f"http://127.0.0.1:{shelf.port}/note.txt")
        bad = shelf.file("gone.txt")
        monkeypatch.setattr(sources, "SOURCES", (replace(source, files=(bad, good)),))
        answer = run("get", "lsp", str(tiny / "root"), "--accept-terms")
        assert answer.exit_code == 1
        assert "gone.txt answers 404" in answer.stderr
        assert "note.txt: fetched" in answer.stderr
        assert answer.stdout == ""
        only = run("get", "lsp", str(tiny / "again"), "--accept-terms", "--only", "note.txt")
        assert only.exit_code == 0
    for folder in ("root", "again"):
        assert (tiny / folder / "note.txt").read_bytes() == b"the whole data set"


@pytest.mark.parametrize("command", ["where", "check", "get"])
def test_each_help_has_an_example(command: str) -> None:
    assert f"hourglass data {command} " in " ".join(run(command, "--help").stdout.split())


@pytest.mark.realdata
def test_check_says_how_much_of_lspet_there_is(real_data: Path) -> None:
    answer = run("check", "lspet", str(real_data / "lspet"))
    assert answer.exit_code == 1
    assert "9,000 of 10,000 people, 9,000 of 10,000 pictures" in answer.stdout
