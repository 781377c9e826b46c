"""Finds out which layer of a Torch7 graph is which of ours.

The graph is walked backwards from its answers, where every step is determined: each layer must be of the
right kind, size and place, and branches must meet again at the same layer. What fits is therefore the same
network, whatever order the file lists its modules in. Two networks are known: the released two-stack network
of the workshop paper (pose-hg-demo; one stack for FLIC) and that of ECCV 2016 (pose-hg-train).
"""

from torch import Tensor

from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.torch7_graph import Layer, Match, Mismatch


def match_network(answers: list[Layer]) -> tuple[NetworkRecipe, dict[str, Tensor]]:
    """The network that these layers are, and its tensors by our names.

    Raises WeightsError, saying for both known networks where the graph differs first.
    """
    reasons = []
    for what, build in (("workshop network", _workshop), ("ECCV 2016 network", _eccv)):
        match = Match()
        try:
            network = build(match, answers)
        except Mismatch as mismatch:
            reasons.append(f"not the {what} ({mismatch})")
            continue
        match.check_whole()
        return network, match.tensors
    raise WeightsError(f"the graph of {len(answers)} answers is {' and '.join(reasons)}")


def _eccv(match: Match, answers: list[Layer]) -> NetworkRecipe:
    stacks = len(answers)
    blocks, depth = 0, 0
    entered: Layer | None = None
    for i in reversed(range(stacks)):
        answer = answers[i]
        read = match.conv(answer, f"heads.{i}")
        if entered is not None:
            x = _merge_inputs(match, entered, read, answer, i)
        y = match.conv_norm_relu(read, f"necks.{i}.1")
        blocks = blocks or _count_residuals(y)
        if not blocks:
            raise Mismatch(f"necks.{i}.0: no residual follows the hourglass")
        y = _chain(match, y, f"necks.{i}.0", blocks)
        source, depth = _hourglass(match, y, f"hourglasses.{i}", blocks)
        if entered is not None and x is not source:
            raise Mismatch(f"hourglasses.{i}: its input does not reach the next stack")
        entered = source
    if entered is None:
        raise Mismatch("there are no answers")
    x = match.pre_residual(match.pre_residual(entered, "stem.4"), "stem.3")
    x = match.pre_residual(match.pool(x, "stem.2"), "stem.1")
    _picture(match.conv_norm_relu(x, "stem.0", kernel=7, stride=2))
    features = match.tensors["heads.0.weight"].shape[1]
    return NetworkRecipe("eccv", stacks=stacks, features=features, depth=depth, blocks=blocks)


def _merge_inputs(match: Match, layer: Layer, features: Layer, heatmaps: Layer, i: int) -> Layer:
    """What stack i's own input is, from the sum that enters the next stack."""
    if layer.kind != "sum" or len(layer.inputs) != 3:
        raise Mismatch(f"hourglasses.{i + 1}: its input is no sum of three")
    rest = []
    for part in layer.inputs:
        reads = part.inputs[0] if part.kind == "convolution" else None
        if reads is features:
            match.conv(part, f"merge_features.{i}")
        elif reads is heatmaps:
            match.conv(part, f"merge_heatmaps.{i}")
        else:
            rest.append(part)
    if len(rest) != 1:
        raise Mismatch(f"hourglasses.{i + 1}: its input does not add features and heatmaps of stack {i}")
    return rest[0]


def _chain(match: Match, layer: Layer, name: str, count: int) -> Layer:
    for m in reversed(range(count)):
        layer = match.pre_residual(layer, f"{name}.{m}")
    return layer


def _count_residuals(layer: Layer) -> int:
    count = 0
    while not _joins(layer):
        layer = Match().pre_residual(layer, f"necks.0.{count}")
        count += 1
    return count


def _joins(layer: Layer) -> bool:
    """Whether a layer is the sum at the end of an hourglass."""
    return layer.kind == "sum" and any(part.kind == "upsampling" for part in layer.inputs)


def _open_hourglass(match: Match, layer: Layer, name: str) -> tuple[Layer, Layer]:
    """The ends of the branch that keeps the resolution, and of the one before its upsampling."""
    if not _joins(layer) or len(layer.inputs) != 2:
        raise Mismatch(f"{name}: a sum with an upsampling was expected, but there is a {layer.kind}")
    up, low = sorted(layer.inputs, key=lambda part: part.kind == "upsampling")
    if low.module["scale_factor"] != 2 or up.kind == "upsampling":
        raise Mismatch(f"{name}: an upsampling by 2 was expected")
    return up, low.inputs[0]


def _hourglass(match: Match, layer: Layer, name: str, blocks: int) -> tuple[Layer, int]:
    """What an ECCV hourglass reads, and how deep it is."""
    up, low = _open_hourglass(match, layer, name)
    low = _chain(match, low, f"{name}.after", blocks)
    depth = 1
    if _joins(low):
        low, inner = _hourglass(match, low, f"{name}.inner", blocks)
        depth += inner
    else:
        low = _chain(match, low, f"{name}.inner", blocks)
    low = match.pool(_chain(match, low, f"{name}.before", blocks), name)
    if _chain(match, up, f"{name}.up", blocks) is not low:
        raise Mismatch(f"{name}: the two branches do not start from the same layer")
    return low, depth


def _workshop(match: Match, answers: list[Layer]) -> NetworkRecipe:
    stacks = len(answers)
    if stacks not in (1, 2):
        raise Mismatch(f"it has 1 or 2 stacks, not {stacks}")
    pooled: Layer | None = None
    depth = 0
    if stacks == 2:
        merged, depth = _workshop_stack(match, answers[1], 1)
        if merged.kind != "sum" or len(merged.inputs) != 2:
            raise Mismatch("hourglasses.1: its input is no sum of two")
        joined, heatmaps = sorted(merged.inputs, key=lambda part: answers[0] in part.inputs)
        if match.conv(heatmaps, "merge_heatmaps") is not answers[0]:
            raise Mismatch("merge_heatmaps: it does not read the first stack's heatmaps")
        both = match.conv(joined, "merge_features")
        features = match.conv(answers[0], "heads.0")
        if both.kind != "concatenation" or len(both.inputs) != 2 or both.inputs[0] is not features:
            raise Mismatch("merge_features: it does not read the first stack's features and the stem's")
        if (both.module["dimension"], both.module["nInputDims"]) not in ((2, None), (2, 4), (1, 3)):
            raise Mismatch("merge_features: it does not join channels")
        pooled = both.inputs[1]
    x, depth = _workshop_stack(match, answers[0], 0)
    for i in (2, 1, 0):
        x = match.post_residual(x, f"widen.{i}")
    if pooled is not None and pooled is not x:
        raise Mismatch("merge_features: it does not read the pooled output of the stem")
    x = match.post_residual(match.pool(x, "stem.2"), "stem.1")
    _picture(match.conv_norm_relu(x, "stem.0", kernel=7, stride=2))
    features_count = match.tensors["necks.0.0.0.weight"].shape[0] // 2
    return NetworkRecipe("workshop", stacks=stacks, features=features_count, depth=depth)


def _workshop_stack(match: Match, answer: Layer, i: int) -> tuple[Layer, int]:
    x = match.conv(answer, f"heads.{i}")
    for k in (1, 0):
        x = match.conv_norm_relu(x, f"necks.{i}.{k}")
    return _workshop_hourglass(match, x, f"hourglasses.{i}")


def _workshop_hourglass(match: Match, layer: Layer, name: str) -> tuple[Layer, int]:
    """What an hourglass of the workshop build reads, and how deep it is."""
    up, low = _open_hourglass(match, layer, name)
    low = match.post_residual(low, f"{name}.after")
    depth = 1
    if _joins(low):
        low, inner = _workshop_hourglass(match, low, f"{name}.inner")
        depth += inner
    else:
        low = match.post_residual(low, f"{name}.inner")
    for i in (2, 1, 0):
        low = match.post_residual(low, f"{name}.before.{i}")
        up = match.post_residual(up, f"{name}.up.{i}")
    low = match.pool(low, name)
    if up is not low:
        raise Mismatch(f"{name}: the two branches do not start from the same layer")
    return low, depth


def _picture(layer: Layer) -> None:
    if layer.kind != "input":
        raise Mismatch(f"stem.0: it reads a {layer.kind}, not the picture")
