"""Walks a Torch7 graph backwards, layer by layer, and collects tensors by our names on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.torch7 import Object, Strided
from hourglass.weights.convert.torch7_graph import Layer

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
