"""A network's blocks and what flows between them, recorded while it runs once on torch's meta device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

BLOCKS = {
    "PreActResidual": "residual",
    "PostActResidual": "residual",
    "_Block": "residual",
    "InceptionResidualA": "inception A",
    "InceptionResidualB": "inception B",
    "_Deception": "decoder",
}
"""Modules that are one box, by the name of their class."""

SILENT = (
    nn.BatchNorm2d,
    nn.BatchNorm1d,
    nn.GroupNorm,
    nn.ReLU,
    nn.LocalResponseNorm,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
)
"""Layers that are no box of their own."""

FUNCTIONS = {
    "add": "add",
    "__add__": "add",
    "cat": "concatenate",
    "max_pool2d": "pool",
    "interpolate": "resize",
    "grid_sample": "cut out",
}
"""Functions between the blocks that are worth showing. Another one is shown only where it joins two flows."""


class Edge(NamedTuple):
    """A flow into a step from an earlier one."""

    source: int
    via: str = ""
    """What changes its size on the way, "pool" or "resize"; "" is nothing."""


@dataclass(frozen=True)
class Step:
    """One box of a diagram."""

    kind: str
    """A word in `BLOCKS` or `FUNCTIONS`, or image, convolution, 1x1 convolution, heatmaps, linear."""
    inputs: tuple[Edge, ...]
    cells: int
    """Shorter side of what it gives; 1 for what has no place, such as a fully connected layer's output."""
    features: int
    block: str
    """Path of the module in whose `forward` it stands; "" is the network."""
    group: str
    """Path of the network's part that it belongs to, such as `hourglasses.0`; "" is none."""
    chain: str = ""
    """Path of the plain sequence that it is a member of; "" is none."""
    supervised: bool = False
    count: int = 1
    """How many equal ones in a row this stands for."""


def record(network: nn.Module, input_px: int) -> list[Step]:
    """Every box in the order of its running; the first one is the image. The network stays as it is.

    Raises ValueError for a network whose answer does not come from its image.
    """
    state = dict(chain(network.named_parameters(), network.named_buffers()))
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    image = torch.zeros(1, 3, input_px, input_px, device="meta")
    recorder = _Recorder(image)
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad(), _hooks(network, recorder), recorder:
            outputs = torch.func.functional_call(network, shapes, (image,))
    finally:
        for module, mode in modes:
            module.training = mode
    steps = recorder.steps
    for out in outputs:
        source = recorder.source(out)
        if not source:
            raise ValueError(
                "an answer of the network does not come from its image: there is nothing to draw"
            )
        steps[source] = replace(steps[source], supervised=True)
    joints = outputs[-1].shape[1]
    for i, step in enumerate(steps):
        if step.kind == "1x1 convolution" and step.features == joints and outputs[-1].ndim == 4:
            steps[i] = replace(step, kind="heatmaps")
    return steps


def fingerprint(steps: list[Step]) -> str:
    """The same for the same boxes and flows. Drawings carry it, so that a stale one can be told."""
    return sha256(repr(steps).encode()).hexdigest()[:16]


def _kind(module: nn.Module) -> str | None:
    """The word for a module that is one box, "" for one that is no box, None for one to look into."""
    name = type(module).__name__
    if name in BLOCKS:
        return BLOCKS[name]
    if name == "Normalise" or isinstance(module, SILENT):
        return ""
    if isinstance(module, nn.Conv2d):
        return "1x1 convolution" if module.kernel_size == (1, 1) else "convolution"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.MaxPool2d | nn.AdaptiveAvgPool2d):
        return "pool"
    if isinstance(module, nn.Sequential) and all(
        isinstance(child, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm | nn.ReLU) for child in module
    ):
        convolutions = sum(isinstance(child, nn.Conv2d) for child in module)
        return "convolution" if convolutions == 1 else "embedding"
    return None


class _Recorder(TorchFunctionMode):
    """Knows of every tensor which step it comes from."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        cells, features = _size(image)
        self.steps = [Step("image", (), cells, features, "", "")]
        self.inside = 0
        """How many boxes we are inside of; nothing is recorded there."""
        self.blocks = [""]
        self.groups = [""]
        # Tensors are known by their identity, so all of them are kept until the end.
        self.known: dict[int, tuple[Tensor, int]] = {id(image): (image, 0)}

    def source(self, tensor: Tensor) -> int | None:
        return self.known[id(tensor)][1] if id(tensor) in self.known else None

    def settle(self, kind: str, inputs: Any, outputs: Any, row: str = "") -> None:
        """Take in one step that has run: a box, or only a new name for what went in."""
        sources = list(dict.fromkeys(s for t in _tensors(inputs) if (s := self.source(t)) is not None))
        made = list(_tensors(outputs))
        if not sources or not made:
            return
        index = sources[0]
        if kind:
            index = len(self.steps)
            edges = tuple(Edge(source) for source in sources)
            self.steps.append(Step(kind, edges, *_size(made[-1]), self.blocks[-1], self.groups[-1], row))
        for tensor in made:
            self.known[id(tensor)] = (tensor, index)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self.inside and func in (nn.functional.batch_norm, nn.functional.relu):
            return args[0]
        out = func(*args, **(kwargs or {}))
        if not self.inside:
            sources = {s for t in _tensors((args, kwargs)) if (s := self.source(t)) is not None}
            kind = FUNCTIONS.get(func.__name__, "")
            if kind in ("add", "concatenate") and len(sources) < 2:
                kind = ""
            self.settle(kind or ("other" if len(sources) > 1 else ""), (args, kwargs), out)
        return out


@contextmanager
def _hooks(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    handles: list[Any] = []

    def watch(module: nn.Module, path: str, block: str, group: str, row: str) -> None:
        kind = _kind(module)
        if kind is not None:

            def enter_box(*_: Any) -> None:
                recorder.inside += 1
                recorder.groups.append(group)

            def leave_box(_: nn.Module, inputs: Any, output: Any) -> None:
                recorder.inside -= 1
                recorder.settle(kind, inputs, output, row)
                recorder.groups.pop()

            handles.append(module.register_forward_pre_hook(enter_box))
            handles.append(module.register_forward_hook(leave_box))
            return
        container = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        inner = block if container else path

        def enter(*_: Any) -> None:
            recorder.blocks.append(inner)
            recorder.groups.append(group)

        def leave(*_: Any) -> None:
            recorder.blocks.pop()
            recorder.groups.pop()

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
        for name, child in module.named_children():
            below = f"{path}.{name}" if path else name
            listed = isinstance(child, nn.ModuleList | nn.ModuleDict)
            chained = path if isinstance(module, nn.Sequential) else ""
            watch(child, below, inner, group or ("" if listed else below), chained)

    watch(network, "", "", "", "")
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _tensors(each)


def _size(tensor: Tensor) -> tuple[int, int]:
    """Cells on the shorter side, and features."""
    return (min(tensor.shape[2:]), tensor.shape[1]) if tensor.ndim == 4 else (1, tensor.shape[-1])
