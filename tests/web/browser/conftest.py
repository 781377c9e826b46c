"""What tests of the exported page share: the bundled file, the runtime from npm, and a folder."""

import fcntl
from pathlib import Path

import pytest

from hourglass.engines import onnx_file
from hourglass.engines.entry import Signature
from hourglass.web.browser import write_web
from hourglass.web.browser.runtime import RuntimeUnavailable, runtime_files
from hourglass.weights.exported import exported_facts
from hourglass.weights.facts import WeightFacts
from hourglass.weights.published import artifact_of, resolve

Artifact = tuple[bytes, WeightFacts, Signature]


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    """The bundled network's ONNX file as `write_web` takes it: bytes, facts, signature."""
    path = artifact_of(resolve("hg2_small"))
    assert path is not None
    model, text, signature = onnx_file.read(path)
    return model, exported_facts(path, text, signature), signature


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run of the tests, the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def runtime(shared: Path) -> Path:
    """A folder that has onnxruntime-web in its cache; skips where there is no way to npm."""
    with (shared / "runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            runtime_files()
        except RuntimeUnavailable as error:
            pytest.skip(f"onnxruntime-web is not to be had here: {error}")
    return shared


@pytest.fixture(scope="session")
def folder(shared: Path, runtime: Path, artifact: Artifact) -> Path:
    """What is exported of the bundled network, once for all workers."""
    target = shared / "web page"
    with (shared / "web.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            write_web(target, [artifact])
    return target
