import shlex
import sys
from pathlib import Path

import pytest

from hourglass.core import extras

ROOT = Path(extras.__file__).parents[3]


def test_from_a_clone_the_command_goes_through_the_tested_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert extras.install_command("serve").endswith(" -m pip install -c constraints.txt -e '.[serve]'")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(extras.install_command("serve"))
    assert words[-4:] == ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[serve]"]


def test_elsewhere_it_asks_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_clone", lambda: None)
    assert extras.install_command("train").endswith("-m pip install 'hourglass-pose[train]'")
    assert extras.install_command("onnxruntime").endswith("-m pip install onnxruntime")


def test_the_python_is_the_one_that_runs_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(folder))
    assert extras.install_command("serve").startswith("python -m pip")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(extras.install_command("serve"))[0] == sys.executable


def test_every_extra_named_is_one_of_pyproject() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = project["optional-dependencies"]
    assert set(extras.EXTRAS) == set(known)
    ours = [word for words in known.values() for word in words if word.startswith(f"{extras.PACKAGE}[")]
    assert ours
    assert {name for word in ours for name in word.partition("[")[2].rstrip("]").split(",")} <= set(known)


def test_a_package_that_no_extra_brings_is_a_fault_of_ours() -> None:
    assert extras.missing_module(ImportError("no", name="hourglass.nowhere")) is None
    text = extras.missing_module(ImportError("no", name="torch.nn"))
    assert text is not None
    assert "torch is not installed" in text
    assert "[train]" in text
