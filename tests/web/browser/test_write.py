import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hourglass.engines.entry import EngineError
from hourglass.inference import predictor
from hourglass.web.browser import write, write_web
from hourglass.web.browser.runtime import RuntimeUnavailable
from hourglass.web.pages import page_files
from hourglass.weights.published import artifact_of, resolve


def test_all_that_a_page_asks_for_is_there(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    page = (folder / "index.html").read_text()
    asked = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    told = json.loads((folder / "model.json").read_text())
    (network,) = told["networks"]
    sizes = {
        name: size for files in (network["files"], *told["runtimes"].values()) for name, size in files.items()
    }
    asked |= set(sizes)
    for path in (folder / "page").glob("*.js"):
        inner = re.findall(r'(?:from|import|URL\() ?"(\./|\.\./)([^"]+)"', path.read_text())
        asked |= {f"page/{name}" if up == "./" else name for up, name in inner}
    asked |= {f"samples/{name}.jpg" for name in (*range(6), "astronaut", "camera")}
    assert asked <= names
    assert names - asked == {"index.html", "model.json"}
    for name, size in sizes.items():
        assert (folder / name).stat().st_size == size


def test_the_page_reaches_no_other_host(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert page.index("Content-Security-Policy") < page.index("<script")
    assert not re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)
    for path in [folder / "index.html", *(folder / "page").iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace(" // ", "")
        assert not re.findall(r"(?:https?:)?//[a-z]", text), path.name
        # Nothing begins at the host's root, so that the folder may lie below it.
        assert not re.findall(r"""(?:src=|href=|fetch\(|from |URL\()["'`]/""", text), path.name


def test_the_page_is_the_servers_but_for_who_answers(folder: Path) -> None:
    served = page_files("hourglass.web.server")
    ours = {path.name: path.read_bytes() for path in (folder / "page").iterdir()}
    same = {name for name, content in served.items() if ours.get(name) == content}
    assert set(served) - same == {"index.html", "api.js", "docs.html", "docs.js", "docs.css"}


def test_the_network_is_the_file_that_python_runs(folder: Path, artifact: Any) -> None:
    (told,) = json.loads((folder / "model.json").read_text())["networks"]
    _, facts, _ = artifact
    assert (told["name"], told["stages"], told["heatmaps"]) == (facts.name, facts.network.stacks, True)
    assert told["input_px"] == facts.input_px
    assert told["skeleton"] == facts.skeleton.to_dict()
    assert told["passes"]["most"] == predictor.MAX_PASSES
    (name,) = told["files"]
    ours = artifact_of(resolve("hg2_small"))
    assert ours is not None
    assert (folder / name).read_bytes() == ours.read_bytes()


def test_terms_lie_beside_what_they_are_of(folder: Path) -> None:
    assert "Microsoft" in (folder / "runtime" / "LICENSE").read_text()
    assert "MIT License" in (folder / "runtime" / "LICENSE").read_text()
    assert (folder / "runtime" / "ThirdPartyNotices.txt").stat().st_size > 10_000


def test_several_networks(artifact: Any, runtime: Path, tmp_path: Path) -> None:
    model, facts, signature = artifact
    other = (model, replace(facts, name="other"), signature)
    write_web(tmp_path / "web", [artifact, other])
    told = json.loads((tmp_path / "web" / "model.json").read_text())["networks"]
    assert [one["name"] for one in told] == [facts.name, "other"]
    assert set(told[0]["files"]).isdisjoint(told[1]["files"])
    assert all((tmp_path / "web" / name).is_file() for one in told for name in one["files"])
    refused(ValueError, f"two networks are called {facts.name}", tmp_path / "b", [artifact, artifact])


def refused(error: type[Exception], says: str, target: Path, *networks: Any, **options: Any) -> None:
    with pytest.raises(error, match=says):
        write_web(target, *networks, **options)


def test_folders_that_are_not_to_be_written(artifact: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    refused(OSError, "full is not empty", tmp_path / "full", [artifact])
    refused(OSError, "it is a file", tmp_path / "full" / "mine.txt", [artifact])
    refused(OSError, "mine.txt can't be written to", tmp_path / "full" / "mine.txt" / "web", [artifact])
    refused(OSError, "/proc can't be written to", Path("/proc/nowhere/web"), [artifact])
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(OSError, "locked can't be written to", tmp_path / "locked" / "web", [artifact])
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


def test_what_fails_leaves_no_folder(
    artifact: Any, tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "web"
    refused(RuntimeUnavailable, "there is no", target, [artifact], runtime=tmp_path / "none.tgz")
    monkeypatch.setattr(write, "LARGEST_MB", 0.01)
    refused(EngineError, "takes .* MB, more than", target, [artifact])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(
    artifact: Any, tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(OSError, "cannot write .*web: No space left on device", tmp_path / "web", [artifact])
    assert list(tmp_path.iterdir()) == []
