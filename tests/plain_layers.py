"""The second description of the layers, written from the papers' layer lists and not from our modules.

What the tests of several networks need: how many parameters a layer must have, what it must answer, and known
inputs and weights to ask with. Everything is a plain function; a layer takes the state dict of the network
under test (`State`) and the name `at` under which the layer's tensors stand there. Nothing here imports the
package, so that a mistake in a module can't repeat itself in what the module is held against.

Sources: the ECCV paper of Newell, Yang and Deng (2016) and its Torch code; their workshop paper of the same
year; figure 4 of the multi-scale paper for the inception-resnet units. The known inputs and weights, and the
ways of running a network, are ours.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


# --- how many parameters ----------------------------------------------------------------------------------


def parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())


def conv(i: int, o: int, kernel: int = 1) -> int:
    """Parameters of a convolution from `i` to `o` features, with its biases."""
    return i * o * kernel**2 + o


def pre_activation(i: int, o: int) -> int:
    """Parameters of a bottleneck with its norms before the convolutions: 1x1, 3x3, 1x1 (ECCV)."""
    mid = o // 2
    norms = 2 * i + 2 * mid + 2 * mid
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) if i != o else 0)


def post_activation(i: int, o: int) -> int:
    """Parameters of a bottleneck with a norm after each convolution, the skip's too (workshop)."""
    mid = o // 2
    norms = 2 * mid + 2 * mid + 2 * o
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) + 2 * o if i != o else 0)


def inception(i: int, o: int) -> int:
    """Parameters of either inception-resnet unit: a wide branch, a deep one, what joins them, the skip."""
    wide = 2 * i + conv(i, o // 2)
    deep = 2 * i + conv(i, o // 4) + 2 * (2 * (o // 4)) + conv(o // 4, o // 4, 3) + conv(o // 4, o // 2, 3)
    return wide + deep + conv(o, o) + (conv(i, o) if i != o else 0)


def eccv_parameters(
    stacks: int, joints: int, f: int = 256, depth: int = 4, blocks: int = 1, stem: str = "eccv"
) -> int:
    """Parameters of the ECCV network; the `wide` stem has all features one residual earlier."""
    second = {"eccv": f // 2, "wide": f}[stem]
    start = conv(3, f // 4, 7) + f // 2 + pre_activation(f // 4, f // 2) + pre_activation(f // 2, second)
    start += pre_activation(second, f)
    # Three positions a level and one more at the bottom; one more residual after the hourglass.
    stage = (3 * depth + 1 + 1) * blocks * pre_activation(f, f) + conv(f, f) + 2 * f + conv(f, joints)
    return start + stacks * stage + (stacks - 1) * (conv(f, f) + conv(joints, f))


# --- what a layer answers ---------------------------------------------------------------------------------


def norm(s: State, at: str, x: Tensor) -> Tensor:
    """(B, C, h, w) by the running statistics of a batch-norm, then its gain and shift."""
    mean, var = s[f"{at}.running_mean"], s[f"{at}.running_var"]
    scale = s[f"{at}.weight"] / torch.sqrt(var + 1e-5)
    return (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + s[f"{at}.bias"].view(1, -1, 1, 1)


def convolve(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution with biases, padded so that stride 1 keeps the size."""
    weight = s[f"{at}.weight"]
    return F.conv2d(x, weight, s[f"{at}.bias"], stride=stride, padding=(weight.shape[-1] - 1) // 2)


def lin(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution (`at`.0), norm (`at`.1), ReLU: the papers' "lin"."""
    return norm(s, f"{at}.1", convolve(s, f"{at}.0", x, stride)).clamp_min(0)


def norm_relu_conv(s: State, at: str, x: Tensor) -> Tensor:
    """Norm (`at`.0), ReLU, convolution (`at`.2)."""
    return convolve(s, f"{at}.2", norm(s, f"{at}.0", x).clamp_min(0))


def pre_residual(s: State, at: str, x: Tensor) -> Tensor:
    """The bottleneck that `pre_activation` counts."""
    y = x
    for i in (1, 2, 3):
        y = convolve(s, f"{at}.conv{i}", norm(s, f"{at}.bn{i}", y).clamp_min(0))
    return y + (convolve(s, f"{at}.skip", x) if f"{at}.skip.weight" in s else x)


def post_residual(s: State, at: str, x: Tensor) -> Tensor:
    """The bottleneck that `post_activation` counts; no ReLU after the sum."""
    y = norm(s, f"{at}.body.1", convolve(s, f"{at}.body.0", x)).clamp_min(0)
    y = norm(s, f"{at}.body.4", convolve(s, f"{at}.body.3", y)).clamp_min(0)
    y = norm(s, f"{at}.body.7", convolve(s, f"{at}.body.6", y))
    return y + (norm(s, f"{at}.skip.1", convolve(s, f"{at}.skip.0", x)) if f"{at}.skip.0.weight" in s else x)


def inception_residual(s: State, at: str, x: Tensor, halved: bool) -> Tensor:
    """Figure 4's units: A (`halved` false), and B, whose deep branch works at half the resolution."""
    y = halve_any(x) if halved else x
    for k in range(3):
        y = norm_relu_conv(s, f"{at}.deep.{k}", y)
    y = enlarge(y)[..., : x.shape[-2], : x.shape[-1]] if halved else y
    y = convolve(s, f"{at}.join", torch.cat([norm_relu_conv(s, f"{at}.wide", x), y], 1))
    return y + (convolve(s, f"{at}.skip", x) if f"{at}.skip.weight" in s else x)


def chain(
    s: State, at: str, x: Tensor, count: int, residual: Callable[[State, str, Tensor], Tensor]
) -> Tensor:
    """`count` residuals in a row, `at`.0 first."""
    for k in range(count):
        x = residual(s, f"{at}.{k}", x)
    return x


def workshop_hourglass(s: State, at: str, x: Tensor, depth: int) -> Tensor:
    """The workshop paper's: three residuals after each pooling and beside it, one inmost, one going up."""
    low = chain(s, f"{at}.before", halve(x), 3, post_residual)
    inner = f"{at}.inner"
    low = workshop_hourglass(s, inner, low, depth - 1) if depth > 1 else post_residual(s, inner, low)
    return chain(s, f"{at}.up", x, 3, post_residual) + enlarge(post_residual(s, f"{at}.after", low))


def halve(x: Tensor) -> Tensor:
    """2 x 2 maxima of a map with even sides; odd ones fail."""
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))


def halve_any(x: Tensor) -> Tensor:
    """2 x 2 maxima; a window over the edge holds what is there."""
    return halve(F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), value=-torch.inf))


def enlarge(x: Tensor, times: int = 2) -> Tensor:
    """Every cell becomes a square of `times` x `times` equal ones."""
    return x.repeat_interleave(times, -1).repeat_interleave(times, -2)


def normalised(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, H, W) of 0..1 less the channel's mean, over its standard deviation."""
    return torch.stack([(image[:, c] - mean[c]) / std[c] for c in range(3)], 1)


# --- what is asked, and of which weights ------------------------------------------------------------------


def picture(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    """(count, 3, height, width) uint8 noise, always the same."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def float_picture(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    """(count, 3, height, width) float32 noise in 0..1, always the same."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(4))


def in_double(image: Tensor) -> Tensor:
    """A uint8 picture as float64 in 0..1, with the rounding that the networks' float32 has."""
    return (image.float() / 255).double()


def with_known_weights(net: nn.Module) -> nn.Module:
    """Every tensor drawn by name, not by order of construction; batch-norms as after training."""
    generator = torch.Generator().manual_seed(8)
    for name, tensor in sorted(net.state_dict().items()):
        if name.startswith("normalise.") or not tensor.is_floating_point():
            continue
        if tensor.ndim == 4:
            bound = tensor[0].numel() ** -0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.uniform_(-0.3, 0.3, generator=generator)
    return net.eval()


def live_statistics(net: nn.Module, convolutions: bool = False) -> None:
    """Batch-norms as after training: nothing at 0 or 1, so that a forgotten one changes the answer.

    Drawn in the order of construction; with `convolutions`, these too. Stored answers rest on that order.
    """
    generator = torch.Generator().manual_seed(8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.get_buffer("running_var")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.get_buffer("running_mean")):
                tensor.uniform_(-0.3, 0.3, generator=generator)
        elif convolutions and isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            for tensor in (module.weight.data, *([module.bias.data] if module.bias is not None else [])):
                tensor.uniform_(-bound, bound, generator=generator)


# --- running a network ------------------------------------------------------------------------------------


def answers(net: nn.Module, image: Tensor) -> list[Tensor]:
    """What a network, from here on in float64, says to a uint8 picture: one tensor per supervised stage."""
    with torch.inference_mode():
        outputs: list[Tensor] = net.double()(in_double(image))
    return outputs


def under_autocast(net: nn.Module, image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Per supervised stage, the answer under bf16 autocast on the CPU, and the one in full precision."""
    with torch.inference_mode():
        exact = net(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(image)
    return list(zip(rough, exact, strict=True))


def without_gradient(net: nn.Module) -> list[str]:
    """Names of the parameters that the backward passes so far gave no gradient, or one of zeros."""
    return [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


def dead_parameters(net: nn.Module, image: Tensor, last_only: bool = False) -> list[str]:
    """Names of the parameters that don't learn from a picture; from the last stage alone with `last_only`.

    The network answers with one tensor or with a list of one per stage. It is put in evaluation mode, because
    a batch's own mean would cancel each bias before a batch-norm; with the statistics of this very batch, so
    that no ReLU is shut.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(image)
    answer = net.eval()(image)
    stages = [answer] if isinstance(answer, Tensor) else answer
    loss = torch.stack([((o - 0.5) ** 2).sum() for o in (stages[-1:] if last_only else stages)]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return without_gradient(net)
