"""How other projects call the tensors of their hourglass networks.

A layout pairs each of our layers with one of theirs. How many stacks, levels and blocks there are is read
from the keys of the file. Bearpaw's layout is that of bearpaw/pytorch-pose and anibali's
pytorch-stacked-hourglass, Princeton's that of princeton-vl/pytorch_stacked_hourglass, MMPose's that of its
`HourglassNet`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from hourglass.models.cornernet_hourglass import level_widths
from hourglass.recipe.network import NetworkRecipe

Pairs = Iterator[tuple[str, str]]
"""Our layer, their layer."""

State = Mapping[str, Tensor]


class LayoutError(ValueError):
    """Keys or shapes that don't fit a layout; the message is what comes after the file's name."""


@dataclass(frozen=True)
class KeyMap:
    """One file's keys, understood.

    Args:
        network: which network they are of.
        joints: how many heatmaps it has.
        pairs: our layers and theirs.
        unused: layers of theirs that no picture ever passes.
    """

    network: NetworkRecipe
    joints: int
    pairs: tuple[tuple[str, str], ...]
    unused: frozenset[str]


def bearpaw(state: State) -> KeyMap:
    """Bearpaw's and anibali's: levels count from the innermost, 0; the stem is the wide one."""
    stacks = _count(state, r"hg\.(\d{1,3})\.hg\.0\.0\.0\.conv1\.weight")
    depth = _count(state, r"hg\.0\.hg\.(\d{1,3})\.0\.0\.conv1\.weight")
    blocks = _count(state, r"hg\.0\.hg\.0\.0\.(\d{1,3})\.conv1\.weight")
    _check_enough(state, stacks, depth, blocks)
    joints, features = _head(state, "score.0.weight")

    def residual(ours: str, theirs: str, projected: bool = False) -> Pairs:
        yield from ((f"{ours}.{part}", f"{theirs}.{part}") for part in _PRE_PARTS)
        if projected:
            yield f"{ours}.skip", f"{theirs}.downsample.0"

    def chain(ours: str, theirs: str) -> Pairs:
        for m in range(blocks):
            yield from residual(f"{ours}.{m}", f"{theirs}.{m}")

    def hourglass(ours: str, theirs: str, level: int) -> Pairs:
        for part, branch in (("up", 0), ("before", 1), ("after", 2)):
            yield from chain(f"{ours}.{part}", f"{theirs}.{level}.{branch}")
        if level:
            yield from hourglass(f"{ours}.inner", theirs, level - 1)
        else:
            yield from chain(f"{ours}.inner", f"{theirs}.0.3")

    def pairs() -> Pairs:
        yield from (("stem.0.0", "conv1"), ("stem.0.1", "bn1"))
        yield from residual("stem.1", "layer1.0", projected=True)
        yield from residual("stem.3", "layer2.0", projected=True)
        yield from residual("stem.4", "layer3.0")
        for s in range(stacks):
            yield from hourglass(f"hourglasses.{s}", f"hg.{s}.hg", depth - 1)
            yield from chain(f"necks.{s}.0", f"res.{s}")
            yield from ((f"necks.{s}.1.{k}", f"fc.{s}.{k}") for k in (0, 1))
            yield f"heads.{s}", f"score.{s}"
            if s < stacks - 1:
                yield from ((f"merge_features.{s}", f"fc_.{s}"), (f"merge_heatmaps.{s}", f"score_.{s}"))

    network = NetworkRecipe("eccv", stacks, features, depth, blocks, "wide")
    return KeyMap(network, joints, tuple(pairs()), frozenset())


def princeton(state: State) -> KeyMap:
    """Princeton's: levels nest, and every residual has a skip convolution, of which few are used."""
    stacks = _count(state, r"hgs\.(\d{1,3})\.0\.up1\.conv1\.conv\.weight")
    depth = _nesting(state, "hgs.0.0", "up1.conv1.conv.weight")
    _check_enough(state, stacks, depth)
    joints, features = _head(state, "outs.0.conv.weight")
    unused: list[str] = []

    def residual(ours: str, theirs: str, projected: bool = False) -> Pairs:
        for part in _PRE_PARTS:
            yield f"{ours}.{part}", f"{theirs}.{part}" + (".conv" if part.startswith("conv") else "")
        if projected:
            yield f"{ours}.skip", f"{theirs}.skip_layer.conv"
        else:
            unused.append(f"{theirs}.skip_layer.conv")

    def hourglass(ours: str, theirs: str, levels: int) -> Pairs:
        for part, name in (("up", "up1"), ("before", "low1"), ("after", "low3")):
            yield from residual(f"{ours}.{part}.0", f"{theirs}.{name}")
        if levels > 1:
            yield from hourglass(f"{ours}.inner", f"{theirs}.low2", levels - 1)
        else:
            yield from residual(f"{ours}.inner.0", f"{theirs}.low2")

    def pairs() -> Pairs:
        yield from (("stem.0.0", "pre.0.conv"), ("stem.0.1", "pre.0.bn"))
        for i, projected in ((1, True), (3, False), (4, True)):
            yield from residual(f"stem.{i}", f"pre.{i}", projected)
        for s in range(stacks):
            yield from hourglass(f"hourglasses.{s}", f"hgs.{s}.0", depth)
            yield from residual(f"necks.{s}.0.0", f"features.{s}.0")
            yield from ((f"necks.{s}.1.{k}", f"features.{s}.1.{n}") for k, n in ((0, "conv"), (1, "bn")))
            yield f"heads.{s}", f"outs.{s}.conv"
            if s < stacks - 1:
                yield f"merge_features.{s}", f"merge_features.{s}.conv.conv"
                yield f"merge_heatmaps.{s}", f"merge_preds.{s}.conv.conv"

    listed = tuple(pairs())
    return KeyMap(NetworkRecipe("eccv", stacks, features, depth), joints, listed, frozenset(unused))


def mmpose(state: State) -> KeyMap:
    """MMPose's, of 0.x (`keypoint_head`) and 1.x (`head`); `inters` has a block that one stack never uses."""
    head = "head" if any(key.startswith("head.") for key in state) else "keypoint_head"
    hourglasses = "backbone.hourglass_modules"
    stacks = _count(state, re.escape(hourglasses) + r"\.(\d{1,3})\.up1\.0\.conv1\.weight")
    depth = _nesting(state, f"{hourglasses}.0", "up1.0.conv1.weight")
    _check_enough(state, stacks, depth)
    joints, features = _head(state, f"{head}.multi_final_layers.0.weight")
    widths = level_widths(depth, features)

    def residual(ours: str, theirs: str, projected: bool = False) -> Pairs:
        parts = (
            *_BASIC_PARTS,
            *((("skip.0", "downsample.0"), ("skip.1", "downsample.1")) if projected else ()),
        )
        yield from ((f"{ours}.{mine}", f"{theirs}.{other}") for mine, other in parts)

    def conv_bn(ours: str, theirs: str) -> Pairs:
        yield from ((f"{ours}.0", f"{theirs}.conv"), (f"{ours}.1", f"{theirs}.bn"))

    def hourglass(ours: str, theirs: str, levels: int) -> Pairs:
        outer, inner = widths[depth - levels : depth - levels + 2]
        # The first block of the way down is strided; the last of the way up changes the width, if need be.
        for part, name, changes in (
            ("up", "up1", (False, False)),
            ("before", "low1", (True, False)),
            ("after", "low3", (False, outer != inner)),
        ):
            for m in (0, 1):
                yield from residual(f"{ours}.{part}.{m}", f"{theirs}.{name}.{m}", changes[m])
        if levels > 1:
            yield from hourglass(f"{ours}.inner", f"{theirs}.low2", levels - 1)
        else:
            for m in range(4):
                yield from residual(f"{ours}.inner.{m}", f"{theirs}.low2.{m}")

    def pairs() -> Pairs:
        yield from conv_bn("stem", "backbone.stem.0")
        yield from residual("stem.3", "backbone.stem.1.0", projected=True)
        for s in range(stacks):
            yield from hourglass(f"hourglasses.{s}", f"{hourglasses}.{s}", depth)
            yield from conv_bn(f"necks.{s}", f"backbone.out_convs.{s}")
            yield f"heads.{s}", f"{head}.multi_final_layers.{s}"
            if s < stacks - 1:
                yield from conv_bn(f"merge_input.{s}", f"backbone.conv1x1s.{s}")
                yield from conv_bn(f"merge_features.{s}", f"backbone.remap_convs.{s}")
                yield from residual(f"after_merge.{s}", f"backbone.inters.{s}")

    unused = {f"backbone.inters.0.{other}" for _, other in _BASIC_PARTS} if stacks == 1 else set()
    network = NetworkRecipe("cornernet", stacks, features, depth)
    return KeyMap(network, joints, tuple(pairs()), frozenset(unused))


LAYOUTS: dict[str, tuple[str, Callable[[State], KeyMap]]] = {
    "bearpaw": ("hg.0.hg.0.0.0.conv1.weight", bearpaw),
    "princeton": ("hgs.0.0.up1.conv1.conv.weight", princeton),
    "mmpose": ("backbone.hourglass_modules.0.up1.0.conv1.weight", mmpose),
}
"""By name: a key that only this layout has, and what reads it."""

_PRE_PARTS = ("bn1", "conv1", "bn2", "conv2", "bn3", "conv3")
_BASIC_PARTS = tuple((part, part) for part in ("conv1", "bn1", "conv2", "bn2"))


def recognise(state: State) -> list[str]:
    """The layouts whose own key is in the file: one, or the file is foreign or ambiguous."""
    return [name for name, (key, _) in LAYOUTS.items() if key in state]


def read_layout(state: State, name: str) -> KeyMap:
    """The file's keys by this layout; raises LayoutError with what was found and what was expected."""
    key, read = LAYOUTS[name]
    if key not in state:
        like = recognise(state)
        hint = f"; it looks like {like[0]}'s" if like else ""
        raise LayoutError(f"has no {key}, as files of {name} do, but {some(state)}{hint}")
    return read(state)


def translate(state: State, layout: KeyMap, names: Iterable[str]) -> dict[str, str]:
    """Our names to their keys, for all of `names`, those of our network.

    Counters of batches, which files before PyTorch 0.4.1 lack, are left out where they are missing. Raises
    LayoutError with the first keys that are missing or that nobody knows.
    """
    theirs = dict(layout.pairs)
    wanted = {}
    for name in names:
        layer, _, leaf = name.rpartition(".")
        if layer in theirs:
            wanted[name] = f"{theirs[layer]}.{leaf}"
    found = {ours: key for ours, key in wanted.items() if key in state or not key.endswith(_COUNTER)}
    missing = [key for key in found.values() if key not in state]
    known = set(wanted.values())
    unknown = [key for key in state if key not in known and key.rpartition(".")[0] not in layout.unused]
    if missing or unknown:
        parts = []
        if missing:
            parts.append(f"lacks {some(missing)}")
        if unknown:
            parts.append(f"has {some(unknown)}, which nobody expects")
        raise LayoutError(" and ".join(parts))
    return found


_DEEPEST = 20
_COUNTER = ".num_batches_tracked"


def some(keys: Iterable[str], most: int = 3) -> str:
    """The first few keys, and how many more there are."""
    listed = list(keys)
    shown = ", ".join(_readable(key) for key in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _readable(key: str) -> str:
    """A key for a message; files of others may have anything in it."""
    key = key if key.isprintable() else repr(key)
    return key if len(key) <= 80 else key[:80] + "..."


def _count(state: State, pattern: str) -> int:
    """How many keys fit a pattern with a number, counting 0, 1, 2 without a gap; at least 1."""
    numbers = {int(found.group(1)) for key in state if (found := re.fullmatch(pattern, key))}
    count = 0
    while count in numbers:
        count += 1
    return max(count, 1)


def _nesting(state: State, start: str, end: str) -> int:
    """How many hourglasses lie in one another under `low2`; at least 1."""
    depth = 1
    while depth < _DEEPEST and f"{start}.{'low2.' * depth}{end}" in state:
        depth += 1
    return depth


def check_depth(depth: int) -> None:
    """Raise LayoutError for an hourglass that is deeper than any picture could be halved."""
    if depth > _DEEPEST:
        raise LayoutError(f"has an hourglass of {depth} levels; real ones have 5 at most")


def _check_enough(state: State, stacks: int, depth: int, blocks: int = 1) -> None:
    """Few keys can name a network too large to list, or too deep; refuse them before that."""
    check_depth(depth)
    if stacks * depth * blocks > len(state):
        raise LayoutError(f"has {len(state)} tensors, too few for the {stacks} stacks that its keys name")


def _head(state: State, key: str) -> tuple[int, int]:
    """Joints and features, from the weight of the first heatmap layer."""
    if key not in state:
        raise LayoutError(f"lacks {key}")
    shape = tuple(state[key].shape)
    if len(shape) != 4 or shape[2:] != (1, 1) or min(shape) < 1:
        raise LayoutError(f"has a {key} of shape {shape}, expected was (joints, features, 1, 1)")
    return shape[0], shape[1]
