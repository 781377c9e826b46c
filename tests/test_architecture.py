"""The rooms of docs/architecture.md: who may import whom, what runs without torch, what an import costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import hourglass
from hourglass.synthetic.render import render

ROOT = Path(hourglass.__file__).parent

FLOORS = (
    {"core"},
    {"recipe", "synthetic"},
    {"models", "data"},
    {"engines"},
    {"weights"},
    {"drawing"},
    {"inference", "doctor"},
    {"evaluation", "batch", "web"},
    {"training", "export", "serving"},
    {"bench"},
    {"api", "cli"},
)
"""The rooms at the top of the package, from the ground up. A room may import those on lower floors."""

OLD_DOORS = {"skeleton", "build", "network_recipe", "data.synthetic"}
"""Modules that only pass on what documentation once named there."""

DOORS = {"__init__", "__main__"} | OLD_DOORS
"""Nothing inside may import them."""

WITHOUT_TORCH = {"core", "recipe", "synthetic", "data", "drawing", "inference", "doctor", "web", "serving"}
WITHOUT_TORCH |= {
    "batch",
    "cli",
    "weights.calibration",
    "weights.exported",
    "weights.facts",
    "weights.published",
}
WITHOUT_TORCH |= {"engines.entry", "engines.onnx_file", "engines.openvino_file"}
WITHOUT_TORCH |= {"evaluation.metrics", "evaluation.scoring"}
"""The half that takes a picture and hands out poses, on what an installation for prediction has."""

WORKSHOP = {
    "data.loading.device_augment",
    "data.loading.loader",
    "data.loading.photos",
    "drawing.diagram",
    "drawing.diagram.layout",
    "drawing.diagram.paint",
    "drawing.diagram.record",
    "drawing.diagram.simplify",
    "inference.backends",
    "inference.device",
    "inference.early_exit",
    "inference.forward",
    "inference.to_onnx",
    "inference.torch_runner",
}
"""Modules of these rooms that train, draw or run torch's own modules, for whoever has torch."""

OPTIONAL = {"onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "fastapi", "starlette", "uvicorn"}
OPTIONAL |= {"sleap_io", "av", "faster_coco_eval", "ray", "prometheus_client", "supervision", "pandas"}
"""What only an extra installs; `import hourglass.anything` must work without."""

MAX_LINES = 600


def module_name(path: Path) -> str:
    """Dotted name below the package: `core.files`, `models` for its `__init__`, `__init__` for ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def resolve(dotted: str) -> str:
    """The module of this package that a dotted name means; what is no module is its parent's attribute."""
    parts = dotted.split(".")
    while parts and ".".join(parts) not in FILES:
        parts.pop()
    return ".".join(parts) or "__init__"


def imported(module: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it, functions and type checks included."""
    found: set[str] = set()
    for node in ast.walk(TREES[module]):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "hourglass":
                found.add(resolve(name.partition(".")[2]))
    return found - {module}


def complaint(module: str, target: str) -> str | None:
    """Why `module` must not import `target`, or None where it may."""
    own, other = module.split(".")[0], target.split(".")[0]
    if module in DOORS or (own == other and target not in DOORS):
        return None
    if target in DOORS:
        return f"{module} imports {target}, which is there for those outside"
    if FLOOR_OF[other] >= FLOOR_OF[own]:
        return f"{module} (floor {FLOOR_OF[own]}) imports {target} (floor {FLOOR_OF[other]})"
    return None


def late(module: str) -> set[int]:
    """Nodes that don't run when the module is imported: functions, and imports for type checks only."""
    return {
        id(node)
        for place in ast.walk(TREES[module])
        if isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(place, ast.If) and "TYPE_CHECKING" in ast.unparse(place.test))
        for node in ast.walk(place)
    }


def early_extras(module: str) -> set[str]:
    """Optional libraries that importing the module would load."""
    early: set[str] = set()
    skipped = late(module)
    for node in ast.walk(TREES[module]):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            early |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            early.add((node.module or "").split(".")[0])
    return early & OPTIONAL


def test_the_rooms() -> None:
    rooms = {name.split(".")[0] for name in FILES} - DOORS
    assert len(rooms) < 20
    assert rooms == set(FLOOR_OF), "every room stands on one floor of FLOORS, and no other"
    wrong = [c for module in FILES for target in imported(module) if (c := complaint(module, target))]
    wrong += [
        f"{module} imports {', '.join(extras)} when it is imported itself"
        for module in FILES
        if (extras := early_extras(module))
    ]
    wrong += [f"{module}: no module is called utils" for module in FILES if "util" in module]
    wrong += [
        f"{module} has {lines} lines; split it"
        for module, path in FILES.items()
        if (lines := path.read_text(encoding="utf-8").count("\n")) > MAX_LINES
    ]
    assert not wrong, "\n".join(sorted(wrong))
    # Take away what imports nothing that is left, again and again; a circle never goes.
    graph = {module: imported(module) for module in FILES}
    while free := {module for module, targets in graph.items() if not targets & graph.keys()}:
        graph = {module: targets for module, targets in graph.items() if module not in free}
    assert not graph, f"these import one another: {', '.join(sorted(graph))}"


def class_names(tree: ast.Module) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def test_no_class_name_twice() -> None:
    places: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for name in class_names(tree):
            places.setdefault(name, []).append(module)
    twice = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert not twice
    assert {"Annotations", "Pose", "PersonRecord"} <= places.keys()


def test_the_rules_themselves() -> None:
    # The checks above would pass on an empty tree or with a reader that finds nothing.
    assert {"core.skeleton", "models.stacked_hourglass", "core.geometry"} <= set(FILES)
    assert imported("core.structs") == {"core.skeleton"}
    assert complaint("models.a", "core.geometry") is None
    assert complaint("models.a", "models.b") is None
    assert "floor" in (complaint("core.skeleton", "data.b") or "")
    assert "floor" in (complaint("models.a", "data.b") or "")
    assert "outside" in (complaint("inference.predictor", "__init__") or "")
    assert "outside" in (complaint("data.loading.records", "data.synthetic") or "")
    assert resolve("core.geometry.warp") == "core.geometry"
    assert resolve("no_such_thing") == "__init__"


BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning_fabric"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
failed = []
folder, *names = sys.argv[1:]
for name in names:
    try:
        importlib.import_module("hourglass." + name)
    except ImportError as error:
        assert "is blocked" in str(error), error
        failed.append(name)

import json
from pathlib import Path
import numpy as np
from hourglass import LSP14, Pose, load_csv, save_csv
from hourglass.synthetic.render import render

scene = render(0, height=96, width=96)
truth = scene.people[0].keypoints.astype(np.float32)
box = np.array([0, 0, 96, 96], np.float32)
save_csv([Pose(truth, np.ones(len(LSP14), np.float32), LSP14, box, "0.png")], Path(folder) / "poses.csv")
(pose,) = load_csv(Path(folder) / "poses.csv")
drawn = pose.draw(scene.image)
from hourglass import Predictor

(found,) = Predictor.from_pretrained(device="cpu", precision="fp32")(scene.image)
same = np.allclose(pose.keypoints, truth, atol=0.01)
print(json.dumps([failed, bool(same), bool((drawn != scene.image).any()), found.keypoints.tolist()]))
"""


def test_torch_stays_above_the_line(tmp_path: Path) -> None:
    below = [
        name
        for name in FILES
        if name not in DOORS and any(f"{name}.".startswith(f"{part}.") for part in WITHOUT_TORCH)
    ]
    words = [sys.executable, "-c", BLOCKED, str(tmp_path), *below]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    failed, same, drawn, keypoints = json.loads(done.stdout)
    assert set(failed) == WORKSHOP
    assert (same, drawn) == (True, True)
    plain = hourglass.Predictor.from_pretrained(device="cpu", precision="fp32", backend="torch")
    (pose,) = plain(render(0, height=96, width=96).image)
    np.testing.assert_allclose(keypoints, pose.keypoints, atol=0.05)
