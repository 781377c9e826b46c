"""A network that Torch7 saved, as a graph of plain layers.

Torch7 files have no names for their weights. What they have is the graph itself: modules within modules, and
nngraph's nodes, each with a list of the nodes that it reads. This is unfolded to layers here, which are
walked backwards, layer by layer, collecting tensors by our names on the way, and `torch7_networks`
finds out which layer is which.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor

from hourglass.weights.convert.torch7 import LuaTable, Object, Strided, Value
from hourglass.weights.facts import WeightsError

_MOST_LAYERS = 50_000
"""Far above any real network; a damaged or hostile file could unfold without end."""

_LAYERS = {
    "SpatialConvolution": "convolution",
    "SpatialConvolutionMM": "convolution",
    "SpatialBatchNormalization": "batch-norm",
    "ReLU": "ReLU",
    "SpatialMaxPooling": "pooling",
    "SpatialUpSamplingNearest": "upsampling",
    "CAddTable": "sum",
    "JoinTable": "concatenation",
}


@dataclass(eq=False)
class Layer:
    """One computation and the layers whose results it takes. Kind `input` is the picture."""

    kind: str
    inputs: "list[Layer]" = field(default_factory=list)
    module: Object = field(default_factory=lambda: Object("nn.Identity"))


Flow: TypeAlias = "Layer | list[Flow]"
"""What passes between modules: one result or a table of them."""


def unfold(value: Value) -> list[Layer]:
    """The layers that give the network's answers, in their order; everything else hangs on them.

    Takes what `torch7.read_torch7` read: a module, or a table with one gModule in it. Raises WeightsError for
    anything else, and for a module that no stacked hourglass has, by its name.
    """
    if isinstance(value, LuaTable):
        graphs = [v for v in value.fields.values() if isinstance(v, Object) and v.name == "nn.gModule"]
        if len(graphs) != 1:
            raise WeightsError(f"the file holds a table with {len(graphs)} nn.gModule; one was expected")
        value = graphs[0]
    if not isinstance(value, Object):
        raise WeightsError(f"the file holds a {type(value).__name__.lower()}, not a network")
    try:
        answers = _Unfolding().apply(value, Layer("input"))
    except RecursionError as error:
        raise WeightsError("the modules lie too deep in one another for a network") from error
    flat = answers if isinstance(answers, list) else [answers]
    layers = [answer for answer in flat if isinstance(answer, Layer)]
    if not layers or len(layers) < len(flat):
        raise WeightsError("the network's answers are not one table of heatmaps")
    return layers


class _Unfolding:
    """Applies modules to results, counting layers as it goes."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, module: Object, flow: Flow) -> Flow:
        self.count += 1
        if self.count > _MOST_LAYERS:
            raise WeightsError(f"the network unfolds to more than {_MOST_LAYERS} modules")
        package, _, name = module.name.partition(".")
        if package not in ("nn", "cudnn"):
            raise WeightsError(f"{module.name} is no module of a network")
        if name == "Identity":
            return flow
        if name == "gModule":
            return self._graph(module, flow)
        if name == "Sequential":
            for child in _children(module):
                flow = self.apply(child, flow)
            return flow
        if name == "ConcatTable":
            return [self.apply(child, flow) for child in _children(module)]
        if name not in _LAYERS:
            raise WeightsError(f"{module.name} is no layer of a stacked hourglass")
        inputs = flow if isinstance(flow, list) else [flow]
        layers = [layer for layer in inputs if isinstance(layer, Layer)]
        several = name in ("CAddTable", "JoinTable")
        if len(layers) < len(inputs) or (len(layers) != 1 and not several):
            raise WeightsError(f"{module.name} takes {len(inputs)} inputs, which it can't")
        return Layer(_LAYERS[name], layers, module)

    def _graph(self, module: Object, flow: Flow) -> Flow:
        """nngraph: a node's `data` has the module, and in `mapindex` the data of the nodes that it reads."""
        start, end = _data(module["innode"]), _data(module["outnode"])
        results: dict[LuaTable, Flow] = {start: flow}
        waiting: list[tuple[LuaTable, bool]] = [(end, False)]
        begun: set[LuaTable] = set()
        while waiting:
            data, sources_done = waiting.pop()
            if data in results:
                continue
            sources = _sources(data)
            if not sources_done:
                if data in begun:
                    raise WeightsError("the network's graph runs in a circle")
                begun.add(data)
                waiting.append((data, True))
                waiting += [(source, False) for source in reversed(sources) if source not in results]
                continue
            if data["selectindex"] is not None or data["nSplitOutputs"] is not None:
                raise WeightsError("the network's graph splits a table, which no stacked hourglass does")
            flows = [results[source] for source in sources]
            read = flows[0] if len(flows) == 1 else flows
            if isinstance(data["module"], Object):
                read = self.apply(data["module"], read)
            results[data] = read
        return results[end]


def _children(module: Object) -> list[Object]:
    modules = module["modules"]
    children = modules.array() if isinstance(modules, LuaTable) else []
    if not all(isinstance(child, Object) for child in children):
        raise WeightsError(f"{module.name} holds something that is no module")
    return children


def _data(node: Value) -> LuaTable:
    data = node["data"] if isinstance(node, Object) else None
    if not isinstance(data, LuaTable):
        raise WeightsError("the network's graph has a node without data")
    return data


def _sources(data: LuaTable) -> list[LuaTable]:
    index = data["mapindex"]
    sources = index.array() if isinstance(index, LuaTable) else []
    if not sources or not all(isinstance(source, LuaTable) for source in sources):
        raise WeightsError("the network's graph has a node that reads nothing")
    return sources


_EPS = 1e-5
"""Of batch-norm in our networks."""

_LARGEST_EPS = 0.1


class Mismatch(Exception):
    """The graph differs from the network that was tried; the message names our layer."""


@dataclass
class Match:
    """Tensors by our names, and where in the file they are, collected on the way back through the graph."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    stored: dict[str, Strided] = field(default_factory=dict)
    eps: set[float] = field(default_factory=set)

    def take(self, module: Object, key: str, name: str, leaf: str) -> Tensor:
        """The tensor that a layer has under this key, kept as our `name`.`leaf`."""
        found = module[key]
        if not isinstance(found, Strided):
            raise Mismatch(f"{name}: {module.name} has no {key}")
        try:
            tensor = found.tensor()
        except ValueError as error:
            raise WeightsError(f"{key} of {name} {error}") from error
        self.tensors[f"{name}.{leaf}"] = tensor
        self.stored[f"{name}.{leaf}"] = found
        return tensor

    def check_whole(self) -> None:
        """Raise WeightsError when tensors have numbers in common or batch-norms differ in their eps.

        Either comes of a damaged reference or number, which nothing else would show.
        """
        if len(self.eps) > 1:
            told = ", ".join(f"{eps:g}" for eps in sorted(self.eps))
            raise WeightsError(f"the batch-norms have not one eps but {told}; the file is damaged")
        places = sorted(
            (id(view.storage), view.offset, view.offset + view.reach, name)
            for name, view in self.stored.items()
        )
        for (storage, _, last, one), (other, first, _, two) in pairwise(places):
            if storage == other and first <= last:
                raise WeightsError(f"{one} and {two} are the same numbers in the file, which is damaged")

    def step(self, layer: Layer, kind: str, name: str) -> Layer:
        """Past a layer of this kind with one input, to what it reads."""
        if layer.kind != kind:
            raise Mismatch(f"{name}: a {kind} was expected, but there is a {layer.kind}")
        return layer.inputs[0]

    def conv(self, layer: Layer, name: str, kernel: int = 1, stride: int = 1) -> Layer:
        """Past a convolution, keeping its weight and bias."""
        source = self.step(layer, "convolution", name)
        m = layer.module
        wanted = {"kW": kernel, "kH": kernel, "dW": stride, "dH": stride}
        wanted |= {"padW": kernel // 2, "padH": kernel // 2}
        # Torch7 wrote `padding` before it knew padW, and no padding at all as nothing.
        found = {
            key: m[key] if m[key] is not None or "pad" not in key else m["padding"] or 0 for key in wanted
        }
        if found != wanted or (m["groups"] or 1) != 1:
            raise Mismatch(f"{name}: a {kernel}x{kernel} convolution of stride {stride} was expected")
        outputs, inputs = _count(m, "nOutputPlane", name), _count(m, "nInputPlane", name)
        weight = self.take(m, "weight", name, "weight")
        if weight.numel() != outputs * inputs * kernel**2:
            raise Mismatch(f"{name}: the weight has {weight.numel()} numbers")
        self.tensors[f"{name}.weight"] = weight.reshape(outputs, inputs, kernel, kernel)
        self.take(m, "bias", name, "bias")
        return source

    def norm(self, layer: Layer, name: str) -> Layer:
        """Past a batch-norm, keeping its scale, shift and statistics."""
        source = self.step(layer, "batch-norm", name)
        m = layer.module
        eps = m["eps"]
        if not isinstance(eps, float) or not 0 < eps < _LARGEST_EPS:
            raise Mismatch(f"{name}: {m.name} has no eps between 0 and {_LARGEST_EPS}")
        self.eps.add(eps)
        if m["running_var"] is None:
            # Torch7 kept 1 / sqrt(variance + eps) until early 2016, under this name.
            variance = self.take(m, "running_std", name, "running_var") ** -2 - eps
        else:
            variance = self.take(m, "running_var", name, "running_var")
        # Ours divides by sqrt(variance + 1e-5); another eps is put into the variance.
        self.tensors[f"{name}.running_var"] = variance if eps == _EPS else variance + (eps - _EPS)
        for key in ("running_mean", "weight", "bias"):
            self.take(m, key, name, key)
        return source

    def relu(self, layer: Layer, name: str) -> Layer:
        """Past a ReLU."""
        source = self.step(layer, "ReLU", name)
        if layer.module["threshold"] or layer.module["val"]:
            raise Mismatch(f"{name}: a plain ReLU was expected, but this one has a threshold of its own")
        return source

    def pool(self, layer: Layer, name: str) -> Layer:
        """Past a 2x2 maximum pooling."""
        source = self.step(layer, "pooling", name)
        m = layer.module
        sizes = [m[key] for key in ("kW", "kH", "dW", "dH")]
        if sizes != [2, 2, 2, 2] or m["padW"] or m["padH"]:
            raise Mismatch(f"{name}: a pooling of 2x2 was expected")
        return source

    def conv_norm_relu(self, layer: Layer, name: str, kernel: int = 1, stride: int = 1) -> Layer:
        """Past convolution, batch-norm and ReLU, which are `name`.0 and `name`.1."""
        layer = self.norm(self.relu(layer, name), f"{name}.1")
        return self.conv(layer, f"{name}.0", kernel, stride)

    def pre_residual(self, layer: Layer, name: str) -> Layer:
        """Past a `PreActResidual`."""

        def body(match: Match, x: Layer) -> Layer:
            for i, kernel in ((3, 1), (2, 3), (1, 1)):
                x = match.conv(x, f"{name}.conv{i}", kernel)
                x = match.norm(match.relu(x, name), f"{name}.bn{i}")
            return x

        def skip(match: Match, x: Layer) -> Layer:
            return match.conv(x, f"{name}.skip")

        return self._residual(layer, name, body, skip)

    def post_residual(self, layer: Layer, name: str) -> Layer:
        """Past a `PostActResidual`."""

        def body(match: Match, x: Layer) -> Layer:
            for i, kernel in ((6, 1), (3, 3), (0, 1)):
                x = match.norm(x if i == 6 else match.relu(x, name), f"{name}.body.{i + 1}")
                x = match.conv(x, f"{name}.body.{i}", kernel)
            return x

        def skip(match: Match, x: Layer) -> Layer:
            return match.conv(match.norm(x, f"{name}.skip.1"), f"{name}.skip.0")

        return self._residual(layer, name, body, skip)

    def _residual(
        self,
        layer: Layer,
        name: str,
        body: "Callable[[Match, Layer], Layer]",
        skip: "Callable[[Match, Layer], Layer]",
    ) -> Layer:
        if layer.kind != "sum" or len(layer.inputs) != 2:
            raise Mismatch(f"{name}: a sum of two was expected, but there is a {layer.kind}")
        reasons = []
        for main, side in (layer.inputs, layer.inputs[::-1]):
            part = Match()
            try:
                source = body(part, main)
                if side is not source and skip(part, side) is not source:
                    raise Mismatch(f"{name}: the two branches do not start from the same layer")
            except Mismatch as mismatch:
                reasons.append(mismatch)
                continue
            self.tensors |= part.tensors
            self.stored |= part.stored
            self.eps |= part.eps
            return source
        raise reasons[0]


def _count(module: Object, key: str, name: str) -> int:
    """A positive whole number; Lua writes all numbers as doubles."""
    value = module[key]
    if not isinstance(value, float) or not value.is_integer() or value < 1:
        raise Mismatch(f"{name}: {module.name} has no {key}")
    return int(value)
