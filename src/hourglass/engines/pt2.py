"""A program of `torch.export` run step by step, with operators from a list and no others.

`torch.export.load` unpickles what a file asks it to, looks up any function by name and evaluates expressions,
so that a file can run code. Here pickles are never opened: what is read is plain JSON and raw numbers.
"""

import json
import operator
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Number of a type in the file's schema to the type."""

STRIDED = 7
"""Number of the only layout of numbers that is read."""
_MODEL = "/models/model.json"


class UnreadableError(ValueError):
    """Part of a file that is not as our own files are; the message says which."""


@dataclass(frozen=True, eq=False)
class Archive:
    """A program that was exported.

    Args:
        program: its JSON.
        tensors: weights and constants by their names in the network.
        extra: further texts by name.
    """

    program: dict[str, Any]
    tensors: dict[str, Tensor]
    extra: dict[str, str]


def open_archive(raw: bytes) -> Archive:
    """The parts of a file. Raises UnreadableError, or whatever damaged bytes make the parsers raise."""
    with zipfile.ZipFile(BytesIO(raw)) as file:
        names = file.namelist()
        roots = [name.removesuffix(_MODEL) for name in names if name.endswith(_MODEL)]
        if len(roots) != 1 or len(set(names)) != len(names):
            raise UnreadableError("it holds no single program")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
            raise UnreadableError("it is packed")  # torch never does; a small file could fill the memory
        root = roots[0]

        def text(name: str) -> str:
            return file.read(f"{root}/{name}").decode()

        if text("byteorder") != "little":
            raise UnreadableError("its numbers are of another byte order")
        tensors: dict[str, Tensor] = {}
        for folder, kind in (("weights", "weight_"), ("constants", "tensor_")):
            config = json.loads(text(f"data/{folder}/model_{folder}_config.json"))["config"]
            for name, entry in config.items():
                path = str(entry["path_name"])
                if entry["use_pickle"] or not path.startswith(kind) or not path[len(kind) :].isdigit():
                    raise UnreadableError(f"{name} is pickled")
                tensors[name] = _tensor(file.read(f"{root}/data/{folder}/{path}"), entry["tensor_meta"])
        start = f"{root}/extra/"
        extra = {
            name.removeprefix(start): file.read(name).decode() for name in names if name.startswith(start)
        }
        return Archive(json.loads(text("models/model.json")), tensors, extra)


def _tensor(raw: bytes, meta: dict[str, Any]) -> Tensor:
    if meta["layout"] != STRIDED:
        raise UnreadableError("a tensor has another layout than rows of numbers")
    dtype = TYPES[meta["dtype"]]
    sizes, strides = ([int(entry["as_int"]) for entry in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return torch.as_strided(flat, sizes, strides, int(meta["storage_offset"]["as_int"])).contiguous()


_WORDS = """
    __and__ __or__ _softmax _to_copy _upsample_bilinear2d_aa abs adaptive_avg_pool2d add alias all amax
    amin any arange argmax avg_pool2d avg_pool3d batch_norm bitwise_and bitwise_not cat clamp clamp_max
    clamp_min clone contiguous conv2d conv_transpose2d convolution cos cumsum detach detach_ div dropout
    eq exp expand flatten flip floor floor_divide full full_like gather ge grid_sampler gt index_select
    le lift_fresh_copy linalg_vector_norm linear log logical_and logical_not lt matmul max max_pool2d
    maximum mean min minimum mul ne neg ones ones_like pad permute pow prod reciprocal
    relu relu_ remainder reshape round rsqrt select sigmoid sign sin slice softmax split
    split_with_sizes sqrt squeeze stack sub sum sym_size tanh to transpose unbind unsqueeze
    upsample_bilinear2d upsample_nearest2d view where zeros zeros_like
"""
OPERATORS = frozenset(_WORDS.split())
"""Of `torch.ops.aten`: they compute from what they are given and touch nothing else."""

_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "neg": operator.neg,
    "getitem": operator.getitem,
}
_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}


@dataclass(frozen=True)
class _Value:
    """What an earlier step made."""

    name: str


class _Device:
    """Where the crops are."""


@dataclass(frozen=True)
class _Step:
    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: tuple[str, ...]
    several: bool
    used_up: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """Steps from one input to several outputs; `weights` are (name in the program, name in the network)."""

    image: str
    weights: tuple[tuple[str, str], ...]
    steps: tuple[_Step, ...]
    outputs: tuple[str, ...]

    def run(self, image: Tensor, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The answers to crops, with tensors by their names in the network, on the same device."""
        values: dict[str, Any] = {name: tensors[known] for name, known in self.weights}
        values[self.image] = image

        def filled(argument: Any) -> Any:
            if isinstance(argument, _Value):
                return values[argument.name]
            if isinstance(argument, list):
                return [filled(part) for part in argument]
            return image.device if isinstance(argument, _Device) else argument

        for step in self.steps:
            answer = step.run(
                *(filled(argument) for argument in step.args),
                **{name: filled(argument) for name, argument in step.kwargs.items()},
            )
            values.update(zip(step.made, answer if step.several else (answer,), strict=True))
            for name in step.used_up:
                del values[name]
        return [values[name] for name in self.outputs]


def parse(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Program:
    """The program in a file's JSON. Raises UnreadableError, or KeyError and the like for what is none."""
    graph, signature = raw["graph_module"]["graph"], raw["graph_module"]["signature"]
    image, weights = _inputs(signature["input_specs"], tensors)
    known = {image, *(name for name, _ in weights)}
    outputs = tuple(
        str(spec["user_output"]["arg"]["as_tensor"]["name"]) for spec in signature["output_specs"]
    )
    steps = []
    for node in graph["nodes"]:
        if all("as_none" in output for output in node["outputs"]):
            continue  # a check of what is known already, or one that makes no tensor
        steps.append(_step(node, known))
        known.update(steps[-1].made)
    if not known.issuperset(outputs):
        raise UnreadableError("it answers with what it never makes")
    return Program(image, weights, _freeing(steps, {image, *outputs}), outputs)


def _inputs(
    specs: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The picture's name, and for every tensor its name in the program and in the network."""
    images, weights = [], []
    for spec in specs:
        ((kind, body),) = spec.items()
        if kind == "user_input":
            images.append(str(body["arg"]["as_tensor"]["name"]))
            continue
        if kind not in ("parameter", "buffer", "tensor_constant"):
            raise UnreadableError(f"it takes an input of the kind {kind}")
        known = str(body[f"{kind}_name"])
        if known not in tensors:
            raise UnreadableError(f"the numbers of {known} are missing")
        weights.append((str(body["arg"]["name"]), known))
    if len(images) != 1:
        raise UnreadableError(f"it takes {len(images)} inputs, not one")
    return images[0], tuple(weights)


def _step(node: Mapping[str, Any], known: set[str]) -> _Step:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for entry in node["inputs"]:
        ((kind, body),) = entry["arg"].items()
        if kind == "as_layout":
            if body != STRIDED:
                raise UnreadableError("it asks for another layout than rows of numbers")
            continue
        value = _argument(kind, body, known)
        if entry["kind"] == 1:
            args.append(value)
        else:
            kwargs[str(entry["name"])] = value
    made, several = _made(node["outputs"])
    return _Step(_function(str(node["target"])), tuple(args), kwargs, made, several, ())


def _function(target: str) -> Callable[..., Any]:
    if target.startswith("_operator."):
        found = _NUMBERS.get(target.removeprefix("_operator."))
    else:
        packet, _, overload = target.removeprefix("torch.ops.aten.").partition(".")
        allowed = target == f"torch.ops.aten.{packet}.{overload}" and packet in OPERATORS
        # An overload is one that torch lists: any other name would be an attribute of the function.
        known = getattr(torch.ops.aten, packet) if allowed else None
        found = getattr(known, overload) if known is not None and overload in known.overloads() else None
    if found is None:
        raise UnreadableError(f"it uses {target}, which no network here needs")
    return found


def _argument(kind: str, body: Any, known: set[str]) -> Any:
    """One argument: a value, or a place for one that is known only when the program runs."""
    if kind == "as_tensor":
        return _value(body["name"], known)
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _value(body["as_name"], known) if "as_name" in body else next(iter(body.values()))
    if kind == "as_tensors":
        return [_value(part["name"], known) for part in body]
    if kind == "as_sym_ints":
        return [_argument("as_sym_int", part, known) for part in body]
    if kind == "as_optional_tensors":
        return [None if "as_none" in part else _value(part["as_tensor"]["name"], known) for part in body]
    if kind == "as_none":
        return None
    if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools"):
        return float(body) if kind == "as_float" else body  # infinity is written as a word
    if kind == "as_scalar_type":
        return TYPES[body]
    if kind == "as_memory_format":
        return _FORMATS[body]
    if kind == "as_device":
        return _Device()
    raise UnreadableError(f"it has an argument of the kind {kind}")


def _value(name: Any, known: set[str]) -> _Value:
    if name not in known:
        raise UnreadableError(f"it uses {name} before it is made")
    return _Value(str(name))


def _made(outputs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], bool]:
    """Names of what a step makes, and whether that is a sequence."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        return tuple(str(part["name"]) for part in outputs[0]["as_tensors"]), True
    names = tuple(str(next(iter(o.values())).get("name") or o["as_sym_int"]["as_name"]) for o in outputs)
    return names, len(names) != 1


def _freeing(steps: Sequence[_Step], kept: set[str]) -> tuple[_Step, ...]:
    """The same steps, each with the values that nobody needs after it."""
    needed, freeing = set(kept), []
    for step in reversed(steps):
        used = {*_names(step.args), *_names(step.kwargs.values()), *step.made}
        late = tuple(sorted(used - needed))
        needed |= used
        freeing.append(_Step(step.run, step.args, step.kwargs, step.made, step.several, late))
    return tuple(reversed(freeing))


def _names(arguments: Any) -> set[str]:
    """Names of the values among arguments and lists of them."""
    found: set[str] = set()
    for argument in arguments:
        if isinstance(argument, _Value):
            found.add(argument.name)
        elif isinstance(argument, list):
            found |= _names(argument)
    return found
