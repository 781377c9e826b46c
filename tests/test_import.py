import importlib
import subprocess
import sys

import pytest

import hourglass


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = """
import sys, time
start = time.process_time()
import hourglass
took = time.process_time() - start
heavy = {"torch", "numpy", "cv2", "PIL", "matplotlib", "scipy"} & set(sys.modules)
print(took < 0.1, sorted(heavy))
"""
    assert run(code) == "True []"


def test_the_commands_load_no_torch_until_they_run() -> None:
    code = """
import sys
import hourglass.cli.predict, hourglass.cli.demo
print({"torch", "cv2", "matplotlib"} & set(sys.modules))
"""
    assert run(code) == "set()"


def test_names_that_documentation_had_elsewhere_are_still_found_there() -> None:
    from hourglass.core.skeleton import LSP14
    from hourglass.models.build import build_network
    from hourglass.recipe.network import NetworkRecipe
    from hourglass.synthetic.render import load_records, render

    doors: list[tuple[str, str, object]] = [
        ("skeleton", "LSP14", LSP14),
        ("build", "build_network", build_network),
        ("network_recipe", "NetworkRecipe", NetworkRecipe),
        ("data.synthetic", "render", render),
        ("data.synthetic", "load_records", load_records),
    ]
    for door, name, thing in doors:
        assert getattr(importlib.import_module(f"hourglass.{door}"), name) is thing


def test_everything_promised_is_there() -> None:
    for name in hourglass.__all__:
        assert getattr(hourglass, name) is not None
    assert hourglass.LSP14.name == "lsp14"
    assert set(hourglass.__all__) <= set(dir(hourglass))
    assert hourglass.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hourglass.nothing  # noqa: B018
