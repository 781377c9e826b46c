"""The layers of docs/architecture.md: who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hourglass

ROOT = Path(hourglass.__file__).parent

# Top-level modules and packages, from the ground up. A new one must be entered here.
LAYERS: dict[str, int] = {
    "skeleton": 0,
    "structs": 0,
    "geometry": 1,
    "heatmap": 1,
    "confidence": 1,
    "spatial_softmax": 1,
    "network_recipe": 1,
    "data_recipe": 1,
    "recipe": 1,
    "models": 2,
    "data": 2,
    "metrics": 2,
    "losses": 2,
    "adaptive": 2,
    "checkpoint": 2,
    "draw": 2,
    "plots": 2,
    "engines": 3,
    "build": 3,
    "diagram": 3,
    "convert": 4,
    "inference": 4,
    "page": 4,
    "evaluate": 5,
    "calibrate": 5,
    "evaluate_coco": 5,
    "evaluation": 5,
    "drawing": 2,
    "scoring": 5,
    "doctor": 5,
    "export": 5,
    "batch": 5,
    "serving": 5,
    "training": 6,
    "demo": 6,
    "benchmark": 6,
    "ablation": 7,
    "cli": 8,
    # The front doors: nothing inside may import them.
    "__init__": 9,
    "__main__": 9,
}
STRANGERS_AMONG_THEMSELVES = 2
"""In this layer a group may import its own package, but no other group."""

OPTIONAL = {"onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "fastapi", "starlette", "uvicorn"}
OPTIONAL |= {"av", "faster_coco_eval", "ray", "prometheus_client", "supervision", "pandas"}
"""What only an extra installs; `import hourglass.anything` must work without."""

MAX_LINES = 600


def module_name(path: Path) -> str:
    """Dotted name below the package: `data.loading.images`, `models` for its `__init__`, `__init__` for ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def group(module: str) -> str:
    return module.split(".")[0]


def resolve(dotted: str) -> str:
    """The module of this package that a dotted name means; what is no module is its parent's attribute."""
    parts = dotted.split(".")
    while parts and ".".join(parts) not in FILES:
        parts.pop()
    return ".".join(parts) or "__init__"


def imported(module: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it, functions and type checks included."""
    found: set[str] = set()
    package = ["hourglass", *(module.split(".") if module != "__init__" else [])]
    if FILES[module].name != "__init__.py":
        package.pop()
    for node in ast.walk(TREES[module]):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "hourglass":
                found.add(resolve(name.partition(".")[2]))
    return found - {module}


def complaint(module: str, target: str) -> str | None:
    """Why `module` must not import `target`, or None where it may."""
    own, other = group(module), group(target)
    if own == other:
        return None
    low, high = LAYERS[own], LAYERS[other]
    if high > low:
        return f"{module} (layer {low}) imports {target}, which is above it (layer {high})"
    if high == low == STRANGERS_AMONG_THEMSELVES:
        return f"{module} imports {target}: groups of layer {low} don't know one another"
    return None


def test_every_module_has_a_layer() -> None:
    homeless = sorted({group(module) for module in FILES} - set(LAYERS))
    assert not homeless, f"in no layer of LAYERS in {Path(__file__).name}: {', '.join(homeless)}"


@pytest.mark.parametrize("module", FILES)
def test_imports_go_downwards(module: str) -> None:
    complaints = [c for target in sorted(imported(module)) if (c := complaint(module, target))]
    assert not complaints, "\n".join(complaints)


def test_the_rules_themselves() -> None:
    # The checks above would pass on an empty tree or with a reader that finds nothing.
    assert {"skeleton", "models.stacked_hourglass", "geometry"} <= set(FILES)
    assert imported("structs") == {"skeleton"}
    assert imported("models.stacked_hourglass") == {"models.layers"}
    assert complaint("geometry", "skeleton") is None
    assert complaint("models.a", "models.b") is None
    assert "above it" in (complaint("skeleton", "geometry") or "")
    assert "above it" in (complaint("inference.predictor", "__init__") or "")
    assert "don't know one another" in (complaint("models.layers", "data.images") or "")
    assert resolve("models.layers.PreActResidual") == "models.layers"
    assert resolve("no_such_thing") == "__init__"


def test_modules_do_not_import_in_circles() -> None:
    graph = {module: imported(module) for module in FILES}
    # Take away what imports nothing that is left, again and again; a circle never goes.
    while free := {module for module, targets in graph.items() if not targets & graph.keys()}:
        graph = {module: targets for module, targets in graph.items() if module not in free}
    assert not graph, f"these import one another: {', '.join(sorted(graph))}"


@pytest.mark.parametrize("module", FILES)
def test_no_module_is_called_utils_or_grows_too_long(module: str) -> None:
    assert not {"util", "utils"} & set(module.split("."))
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{FILES[module]} has {lines} lines; split it"


@pytest.mark.parametrize("module", FILES)
def test_extras_are_imported_inside_functions_only(module: str) -> None:
    inside = {
        id(node)
        for function in ast.walk(TREES[module])
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    typing_only = {
        id(node)
        for branch in ast.walk(TREES[module])
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    early: set[str] = set()
    for node in ast.walk(TREES[module]):
        if id(node) in inside | typing_only:
            continue
        if isinstance(node, ast.Import):
            early |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            early.add((node.module or "").split(".")[0])
    assert not early & OPTIONAL, f"{module} imports {', '.join(early & OPTIONAL)} when it is imported itself"


@pytest.mark.parametrize("module", ["hourglass", "hourglass.core.skeleton", "hourglass.core.structs"])
def test_light_modules_do_not_load_torch(module: str) -> None:
    script = (
        f"import {module}, sys; print(*sorted({{'torch', 'cv2', 'lightning_fabric'}} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []
