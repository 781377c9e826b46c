"""What tests of the exported page share: small networks, the runtime from npm, and a folder of each kind."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.web.browser import write_web
from hourglass.web.browser.runtime import RuntimeUnavailable, runtime_files
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import load_network

MakeNetwork = Callable[..., tuple[nn.Module, WeightFacts]]


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """`make_network(**recipe)` is a small network of random numbers and its facts."""

    def make(**recipe: object) -> tuple[nn.Module, WeightFacts]:
        torch.manual_seed(0)
        settings = {"stacks": 2, "features": 8, "depth": 1, **recipe}
        network = NetworkRecipe(**settings)  # type: ignore[arg-type]
        facts = WeightFacts("tiny", network, LSP14, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        return build_network(network, LSP14, facts.mean, facts.std).eval(), facts

    return make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run of the tests, the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def runtime(shared: Path) -> Path:
    """A folder that has onnxruntime-web in its cache; skips where there is no way to npm."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    with (shared / "runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            runtime_files()
        except RuntimeUnavailable as error:
            pytest.skip(f"onnxruntime-web is not to be had here: {error}")
    return shared


@pytest.fixture(scope="session")
def folder(shared: Path, runtime: Path) -> Path:
    """What is exported of the smaller bundled network, which takes a while, so once for all workers."""
    target = shared / "web page"
    with (shared / "web.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            write_web(target, *load_network("hg2_small"))
    return target
