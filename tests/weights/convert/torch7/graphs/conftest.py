"""The graphs of pose-hg-demo and pose-hg-train, and what they compute, written down again."""

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F


class Lua:
    """Builds modules over a table of weights, and the graph that nngraph makes of them."""

    def __init__(
        self, t7: SimpleNamespace, others: SimpleNamespace, package: str = "cudnn", dialect: str = "usual"
    ) -> None:
        self.t7 = t7
        self.weights = others.Writer(counters=False)
        self.package = package
        self.dialect = dialect

    def conv(self, key: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> Any:
        self.weights.conv(key, inputs, outputs, kernel)
        s, pad = self.weights.state, kernel // 2
        shape = {"kW": kernel, "kH": kernel, "dW": stride, "dH": stride}
        name, weight = "SpatialConvolution", s[f"{key}.weight"]
        if self.dialect == "old":
            name, weight = "SpatialConvolutionMM", weight.flatten(1)
            shape |= {"padding": pad}
        else:
            shape |= {"padW": pad, "padH": pad, "groups": 1}
        planes = {"nInputPlane": inputs, "nOutputPlane": outputs}
        gradient = torch.zeros_like(weight)
        fields = {"weight": weight, "bias": s[f"{key}.bias"], "gradWeight": gradient, "train": False}
        return self.t7.Obj(f"{self.package}.{name}", **shape, **planes, **fields)

    def norm(self, key: str, features: int) -> Any:
        self.weights.norm(key, features)
        s = self.weights.state
        statistics = {
            "running_mean": s[f"{key}.running_mean"],
            "running_var": s[f"{key}.running_var"],
            "eps": 1e-5,
        }
        if self.dialect == "old":
            deviation = (statistics.pop("running_var") + 1e-5) ** -0.5
            statistics["running_std"] = deviation
        if self.dialect == "eps":
            # The same norm with another eps: the variance makes up for it.
            statistics |= {"eps": 1e-3, "running_var": s[f"{key}.running_var"] - 1e-3 + 1e-5}
        affine = {"weight": s[f"{key}.weight"], "bias": s[f"{key}.bias"]}
        return self.t7.Obj("nn.SpatialBatchNormalization", affine=True, momentum=0.1, **affine, **statistics)

    def relu(self) -> Any:
        return self.t7.Obj(f"{self.package}.ReLU", inplace=True, threshold=0, val=0)

    def pool(self) -> Any:
        return self.t7.Obj(
            f"{self.package}.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2, padW=0, padH=0, ceil_mode=False
        )

    def up(self) -> Any:
        return self.t7.Obj("nn.SpatialUpSamplingNearest", scale_factor=2, outputSize=self.t7.rows(0, 0, 0, 0))

    def add(self) -> Any:
        return self.t7.Obj("nn.CAddTable", inplace=True, gradInput={})

    def sequence(self, *modules: Any) -> Any:
        return self.t7.Obj("nn.Sequential", modules=self.t7.rows(*modules), _type="torch.CudaTensor")

    def node(self, module: Any, *sources: Any) -> Any:
        data = {
            "annotations": {"_debugLabel": "[model.lua]:1"},
            "module": module,
            "mapindex": self.t7.Mapindex(*sources),
        }
        return self.t7.Obj(
            "nngraph.Node", data=data, children=self.t7.rows(*sources), visited=False, marked=False
        )

    def graph(self, start: Any, answers: list[Any]) -> Any:
        data = {"data": {}, "gradOutput": {}, "mapindex": self.t7.Mapindex(start)}
        inner = self.t7.Obj("nngraph.Node", data=data, children={}, visited=False)
        start.fields["data"]["mapindex"] = self.t7.Mapindex(inner)
        outer = self.t7.Obj(
            "nngraph.Node",
            data={"input": {}, "mapindex": self.t7.Mapindex(*answers)},
            children=self.t7.rows(*answers),
        )
        return self.t7.Obj("nn.gModule", innode=inner, outnode=outer, verbose=False, name="hg", nInputs=1)


# The two networks, as their Lua files put them together, and what they compute


def workshop(
    lua: Lua, joints: int = 16, stacks: int = 2, f: int = 8, depth: int = 4, skip_first: bool = False
) -> Any:
    def residual(key: str, inputs: int, outputs: int, x: Any) -> Any:
        half = outputs // 2
        body = lua.sequence(
            lua.conv(f"{key}.a", inputs, half),
            lua.norm(f"{key}.na", half),
            lua.relu(),
            lua.conv(f"{key}.b", half, half, 3),
            lua.norm(f"{key}.nb", half),
            lua.relu(),
            lua.conv(f"{key}.c", half, outputs),
            lua.norm(f"{key}.nc", outputs),
        )
        side = lua.t7.Obj("nn.Identity")
        if inputs != outputs:
            side = lua.sequence(lua.conv(f"{key}.s", inputs, outputs), lua.norm(f"{key}.ns", outputs))
        both = lua.t7.Obj(
            "nn.ConcatTable", modules=lua.t7.rows(*((side, body) if skip_first else (body, side)))
        )
        return lua.node(lua.sequence(both, lua.add()), x)

    def hourglass(key: str, n: int, inputs: int, x: Any) -> Any:
        up, low, width = x, lua.node(lua.pool(), x), inputs
        for i, (a, b) in enumerate(((inputs, f), (f, f), (f, 2 * f))):
            up = residual(f"{key}.up{i}", a, b, up)
        for i in range(3):
            low = residual(f"{key}.low{i}", width, f, low)
            width = f
        low = hourglass(f"{key}.in", n - 1, f, low) if n > 1 else residual(f"{key}.in", f, 2 * f, low)
        low = residual(f"{key}.last", 2 * f, 2 * f, low)
        return lua.node(lua.add(), up, lua.node(lua.up(), low))

    def lin(key: str, inputs: int, outputs: int, x: Any, kernel: int = 1, stride: int = 1) -> Any:
        x = lua.node(
            lua.norm(f"{key}.n", outputs), lua.node(lua.conv(key, inputs, outputs, kernel, stride), x)
        )
        return lua.node(lua.relu(), x)

    start = lua.node(lua.t7.Obj("nn.Identity"))
    x = residual("r1", f // 4, f // 2, lin("cnv1", 3, f // 4, start, 7, 2))
    pool = lua.node(lua.pool(), x)
    x = residual("r5", f // 2, f // 2, residual("r4", f // 2, f // 2, pool))
    x = hourglass("hg1", depth, f, residual("r6", f // 2, f, x))
    last = f if stacks == 2 else 2 * f
    l2 = lin("l2", 2 * f, last, lin("l1", 2 * f, 2 * f, x))
    out1 = lua.node(lua.conv("out1", last, joints), l2)
    if stacks == 1:
        return lua.graph(start, [out1])
    wide = f + f // 2
    joined = lua.node(lua.t7.Obj("nn.JoinTable", dimension=2), l2, pool)
    joined = lua.node(lua.conv("cat1_", wide, wide), joined)
    x = lua.node(lua.add(), joined, lua.node(lua.conv("out1_", joints, wide), out1))
    x = hourglass("hg2", depth, wide, x)
    x = lin("l4", 2 * f, 2 * f, lin("l3", 2 * f, 2 * f, x))
    return lua.graph(start, [out1, lua.node(lua.conv("out2", 2 * f, joints), x)])


def workshop_forward(
    o: SimpleNamespace, s: dict[str, Tensor], x: Tensor, stacks: int = 2, depth: int = 4
) -> Any:
    def residual(key: str, x: Tensor) -> Tensor:
        y = x
        for part in "abc":
            y = o.normalise(
                s, f"{key}.n{part}", o.convolve(s, f"{key}.{part}", F.relu(y) if part != "a" else y)
            )
        return y + (
            o.normalise(s, f"{key}.ns", o.convolve(s, f"{key}.s", x)) if f"{key}.s.weight" in s else x
        )

    def hourglass(key: str, n: int, x: Tensor) -> Tensor:
        up, low = x, o.halve(x)
        for i in range(3):
            up, low = residual(f"{key}.up{i}", up), residual(f"{key}.low{i}", low)
        low = hourglass(f"{key}.in", n - 1, low) if n > 1 else residual(f"{key}.in", low)
        total: Tensor = up + o.double(residual(f"{key}.last", low))
        return total

    def lin(key: str, x: Tensor, stride: int = 1) -> Tensor:
        y: Tensor = F.relu(o.normalise(s, f"{key}.n", o.convolve(s, key, x, stride)))
        return y

    pool = o.halve(residual("r1", lin("cnv1", x, 2)))
    l2 = lin("l2", lin("l1", hourglass("hg1", depth, residual("r6", residual("r5", residual("r4", pool))))))
    answers = [o.convolve(s, "out1", l2)]
    if stacks == 2:
        x = o.convolve(s, "cat1_", torch.cat([l2, pool], 1)) + o.convolve(s, "out1_", answers[0])
        answers.append(o.convolve(s, "out2", lin("l4", lin("l3", hourglass("hg2", depth, x)))))
    return answers


def eccv(
    lua: Lua,
    joints: int = 16,
    stacks: int = 2,
    f: int = 8,
    depth: int = 4,
    blocks: int = 1,
    neck: bool = True,
) -> Any:
    def residual(key: str, inputs: int, outputs: int, x: Any) -> Any:
        half = outputs // 2
        layers = []
        for part, a, b, kernel in (("a", inputs, half, 1), ("b", half, half, 3), ("c", half, outputs, 1)):
            layers += [lua.norm(f"{key}.n{part}", a), lua.relu(), lua.conv(f"{key}.{part}", a, b, kernel)]
        side = (
            lua.t7.Obj("nn.Identity")
            if inputs == outputs
            else lua.sequence(lua.conv(f"{key}.s", inputs, outputs))
        )
        both = lua.t7.Obj("nn.ConcatTable", modules=lua.t7.rows(lua.sequence(*layers), side))
        return lua.node(lua.sequence(both, lua.add()), x)

    def row(key: str, x: Any) -> Any:
        for m in range(blocks):
            x = residual(f"{key}{m}", f, f, x)
        return x

    def hourglass(key: str, n: int, x: Any) -> Any:
        up = row(f"{key}.up", x)
        low = row(f"{key}.low", lua.node(lua.pool(), x))
        low = hourglass(f"{key}.in", n - 1, low) if n > 1 else row(f"{key}.in", low)
        return lua.node(lua.add(), up, lua.node(lua.up(), row(f"{key}.last", low)))

    def lin(key: str, inputs: int, outputs: int, x: Any, kernel: int = 1, stride: int = 1) -> Any:
        x = lua.node(
            lua.norm(f"{key}.n", outputs), lua.node(lua.conv(key, inputs, outputs, kernel, stride), x)
        )
        return lua.node(lua.relu(), x)

    start = lua.node(lua.t7.Obj("nn.Identity"))
    x = residual("r1", f // 4, f // 2, lin("cnv1", 3, f // 4, start, 7, 2))
    x = residual("r5", f // 2, f, residual("r4", f // 2, f // 2, lua.node(lua.pool(), x)))
    answers = []
    for i in range(stacks):
        y = hourglass(f"hg{i}", depth, x)
        ll = lin(f"lin{i}", f, f, row(f"after{i}", y) if neck else y)
        answers.append(lua.node(lua.conv(f"out{i}", f, joints), ll))
        if i < stacks - 1:
            features = lua.node(lua.conv(f"ll{i}", f, f), ll)
            x = lua.node(lua.add(), x, features, lua.node(lua.conv(f"back{i}", joints, f), answers[-1]))
    return lua.graph(start, answers)


def eccv_forward(
    o: SimpleNamespace, s: dict[str, Tensor], x: Tensor, stacks: int = 2, depth: int = 4, blocks: int = 1
) -> list[Tensor]:
    def residual(key: str, x: Tensor) -> Tensor:
        y = x
        for part in "abc":
            y = o.convolve(s, f"{key}.{part}", F.relu(o.normalise(s, f"{key}.n{part}", y)))
        return y + (o.convolve(s, f"{key}.s", x) if f"{key}.s.weight" in s else x)

    def row(key: str, x: Tensor) -> Tensor:
        for m in range(blocks):
            x = residual(f"{key}{m}", x)
        return x

    def hourglass(key: str, n: int, x: Tensor) -> Tensor:
        low = row(f"{key}.low", o.halve(x))
        low = hourglass(f"{key}.in", n - 1, low) if n > 1 else row(f"{key}.in", low)
        total: Tensor = row(f"{key}.up", x) + o.double(row(f"{key}.last", low))
        return total

    def lin(key: str, x: Tensor, stride: int = 1) -> Tensor:
        y: Tensor = F.relu(o.normalise(s, f"{key}.n", o.convolve(s, key, x, stride)))
        return y

    x = residual("r5", residual("r4", o.halve(residual("r1", lin("cnv1", x, 2)))))
    answers = []
    for i in range(stacks):
        ll = lin(f"lin{i}", row(f"after{i}", hourglass(f"hg{i}", depth, x)))
        answers.append(o.convolve(s, f"out{i}", ll))
        x = x + o.convolve(s, f"ll{i}", ll) + o.convolve(s, f"back{i}", answers[-1]) if i < stacks - 1 else x
    return answers


@pytest.fixture(scope="session")
def graphs(torch7: SimpleNamespace, others: SimpleNamespace) -> SimpleNamespace:
    """Builder, networks, and what they compute."""
    return SimpleNamespace(
        Lua=functools.partial(Lua, torch7, others),
        workshop=workshop,
        workshop_forward=functools.partial(workshop_forward, others),
        eccv=eccv,
        eccv_forward=functools.partial(eccv_forward, others),
    )
