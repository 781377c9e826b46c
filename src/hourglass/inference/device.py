"""Where a network runs to answer, and in which precision."""

from typing import Literal, get_args

import torch

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""`int8` is OpenVINO's alone, see `backends`."""

_TORCH = ("auto", "fp32", "bf16")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises ValueError for another name or a device that isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"the device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        hint = "; on a Mac networks run on the CPU" if device.type == "mps" else ""
        raise ValueError(f"the device must be auto, cpu, cuda or cuda:N, got {name!r}{hint}")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ValueError(f"there is no CUDA device {name!r} here; use --device cpu or auto")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16 for a network; `auto` is bf16 where the device computes in it.

    Raises ValueError for an unknown name.
    """
    if name not in _TORCH:
        known = ", ".join(get_args(Precision))
        raise ValueError(
            "int8 needs backend='openvino' (--backend openvino)"
            if name == "int8"
            else f"the precision {name!r} is not one of {known}"
        )
    if name == "auto":
        return torch.bfloat16 if computes_bf16(device) else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster there than fp32, and not emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private in torch, and the only way to ask; where it is gone the answer is no.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask()) if ask is not None else False
