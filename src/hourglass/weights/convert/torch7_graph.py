"""A network that Torch7 saved, as a graph of plain layers.

Torch7 files have no names for their weights. What they have is the graph itself: modules within modules, and
nngraph's nodes, each with a list of the nodes that it reads. This is unfolded to layers here, and
`torch7_networks` finds out which layer is which.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.torch7 import Object, Table, Value

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
    if isinstance(value, Table):
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
        results: dict[Table, Flow] = {start: flow}
        waiting: list[tuple[Table, bool]] = [(end, False)]
        begun: set[Table] = set()
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
    children = modules.array() if isinstance(modules, Table) else []
    if not all(isinstance(child, Object) for child in children):
        raise WeightsError(f"{module.name} holds something that is no module")
    return children


def _data(node: Value) -> Table:
    data = node["data"] if isinstance(node, Object) else None
    if not isinstance(data, Table):
        raise WeightsError("the network's graph has a node without data")
    return data


def _sources(data: Table) -> list[Table]:
    index = data["mapindex"]
    sources = index.array() if isinstance(index, Table) else []
    if not sources or not all(isinstance(source, Table) for source in sources):
        raise WeightsError("the network's graph has a node that reads nothing")
    return sources
