import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

from hourglass.engines.engine import EngineError, Signature
from hourglass.engines.onnx_engine import OnnxNetwork, convert
from hourglass.inference import predictor
from hourglass.web.browser import write, write_web
from hourglass.web.browser.runtime import RuntimeUnavailable
from hourglass.web.pages import page_files
from hourglass.weights.load import load_network


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


def test_the_network_is_the_weights_own(folder: Path) -> None:
    (told,) = json.loads((folder / "model.json").read_text())["networks"]
    _, facts = load_network("hg2_small")
    assert (told["name"], told["stages"], told["heatmaps"]) == ("hg2_small", 2, True)
    assert told["input_px"] == facts.input_px
    assert told["skeleton"] == facts.skeleton.to_dict()
    assert told["passes"]["most"] == predictor.MAX_PASSES
    model = (folder / "network" / "1" / "model.onnx").read_bytes()
    assert OnnxNetwork(model, Signature(facts.input_px, "heatmap", "fp32")) is not None


def test_terms_lie_beside_what_they_are_of(folder: Path) -> None:
    assert "Microsoft" in (folder / "runtime" / "LICENSE").read_text()
    assert "MIT License" in (folder / "runtime" / "LICENSE").read_text()
    assert (folder / "runtime" / "ThirdPartyNotices.txt").stat().st_size > 10_000


@pytest.mark.slow
def test_fewer_stacks(make_network: Any, runtime: Path, tmp_path: Path) -> None:
    told: list[str] = []
    write_web(tmp_path / "a" / "b", *make_network(), stacks=1, progress=told.append)
    assert json.loads((tmp_path / "a" / "b" / "model.json").read_text())["networks"][0]["stages"] == 1
    assert told[-1] == "writing tiny as ONNX"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.slow
def test_several_networks(make_network: Any, runtime: Path, tmp_path: Path) -> None:
    network, facts = make_network()
    write_web(tmp_path / "web", network, facts, others=[(network, replace(facts, name="other"))])
    told = json.loads((tmp_path / "web" / "model.json").read_text())["networks"]
    assert [one["name"] for one in told] == ["tiny", "other"]
    assert set(told[0]["files"]).isdisjoint(told[1]["files"])
    assert all((tmp_path / "web" / name).is_file() for one in told for name in one["files"])
    refused(
        ValueError, "two networks are called tiny", tmp_path / "b", network, facts, others=[(network, facts)]
    )


def refused(error: type[Exception], says: str, target: Path, *network: Any, **options: Any) -> None:
    with pytest.raises(error, match=says):
        write_web(target, *network, **options)


def test_folders_that_are_not_to_be_written(make_network: Any, tmp_path: Path) -> None:
    network = make_network()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    refused(OSError, "full is not empty", tmp_path / "full", *network)
    refused(OSError, "it is a file", tmp_path / "full" / "mine.txt", *network)
    refused(OSError, "mine.txt can't be written to", tmp_path / "full" / "mine.txt" / "web", *network)
    refused(OSError, "/proc can't be written to", Path("/proc/nowhere/web"), *network)
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(OSError, "locked can't be written to", tmp_path / "locked" / "web", *network)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


def test_what_fails_leaves_no_folder(
    make_network: Any, tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, facts = make_network()
    target = tmp_path / "web"
    refused(RuntimeUnavailable, "there is no", target, network, facts, runtime=tmp_path / "none.tgz")
    refused(ValueError, "stacks=3 is not possible", target, network, facts, stacks=3)
    engine = OnnxNetwork(convert(network, 32, facts.to_json()), Signature(32, "heatmap", "fp32"))
    refused(ValueError, "exported for onnxruntime", target, engine, facts)
    monkeypatch.setattr(write, "LARGEST_MB", 0.01)
    refused(EngineError, "tiny takes .* MB, more than", target, network, facts)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(
    make_network: Any, tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(write, "_network_files", lambda *_: ({}, {}))
    monkeypatch.setattr(Path, "write_bytes", full)
    refused(OSError, "cannot write .*web: No space left on device", tmp_path / "web", *make_network())
    assert list(tmp_path.iterdir()) == []
