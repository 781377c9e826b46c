"""Networks that ONNX Runtime runs, and the ONNX files that any other program can."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.core.extras import missing
from hourglass.core.files import (
    CHECKSUM_KEY,
    NO_CHECKSUM,
    reason,
    with_checksum,
    write_atomically,
)
from hourglass.engines.engine import (
    check_calibration,
    check_crops,
    example,
    quiet,
    ready,
    stage_names,
    stages_of,
)
from hourglass.engines.entry import ENTRY, EngineError, Signature, said
from hourglass.engines.onnx_file import session

OPSET = 20

FEWEST_HALVED = 1024
"""Tensors of fewer numbers stay fp32 in a file of fp16 numbers."""


class OnnxNetwork(nn.Module):
    """Crops (B, 3, S, S) uint8 on the CPU to what the network answered, as its own `forward` does.

    Args:
        model: the bytes of an ONNX file, as `convert` and `onnx_file.read` give them.
        signature: of the network.
        threads: 0 for as many as torch uses.
    """

    own_threads = True
    """They run beside torch's; see `inference.forward`."""

    def __init__(self, model: bytes, signature: Signature, threads: int = 0) -> None:
        super().__init__()
        self.model, self.signature, self.output = model, signature, signature.output
        self._session = session(model, "the exported network", threads or torch.get_num_threads())
        self._names = [entry.name for entry in self._session.get_outputs()]
        flips = any(entry.name == "flip_test" for entry in self._session.get_inputs())
        self._given = {"flip_test": np.array(False)} if flips else {}

    def forward(self, image: Tensor) -> list[Tensor]:
        return stages_of(self.answers(image))

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """All that the file answers with, by name, without a flip test."""
        check_crops(image, self.signature)
        answer = self._session.run(self._names, {"image": image.contiguous().numpy(), **self._given})
        return {name: torch.from_numpy(part) for name, part in zip(self._names, answer, strict=True)}


def convert(
    network: nn.Module,
    input_px: int,
    facts: str = "",
    output: str = "heatmap",
    names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> bytes:
    """The bytes of an ONNX file: `image` (batch, 3, S, S) uint8 to `stage_1`, `stage_2` ..., any batch.

    Args:
        facts: JSON, for the entry `hourglass` of the metadata.
        output: what the stages are, as the network says.
        names: of what the network answers with, where that is more than its stages.
        metadata: further entries; `doc_string` goes to the model's own.
        half: store large tensors as fp16 (`halved`).

    Raises EngineError where the exporter's packages are missing or it can't express the network.
    """
    network = ready(network)
    crops = example(input_px).expand(2, -1, -1, -1)
    proto = traced(
        network,
        (crops,),
        ["image"],
        list(names or stage_names(network, input_px)),
        "this network",
        ({0: torch.export.Dim("batch", min=1)},),
    )
    if half:
        halved(proto)
    signature = Signature(input_px, output, "fp16" if half else "fp32")
    return finished(proto, facts, signature, metadata or {})


def traced(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    what: str,
    dynamic_shapes: Any = None,
) -> Any:
    """An `onnx.ModelProto` of a module, traced with the examples.

    Raises EngineError where the exporter's packages are missing or it can't express `what`.
    """
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                examples,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise EngineError(missing("writing ONNX", "export", error)) from error
    except torch.onnx.OnnxExporterError as error:
        raise EngineError(f"ONNX can't express {what}: {reason(error, first_line=True)}") from error
    assert program is not None
    return program.model_proto


def quantise(
    model: bytes,
    crops: npt.NDArray[np.uint8],
    facts: str,
    signature: Signature,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """What `convert` gave with int8 convolutions, their ranges measured on crops (N, 3, S, S) uint8.

    As `openvino_engine.quantise`; what decodes the stages keeps its numbers. The signature is `model`'s.
    Raises EngineError with too few crops, or where nncf is not installed.
    """
    check_calibration(len(crops))
    with quiet():
        try:
            import nncf
            import onnx
        except ImportError as error:
            raise EngineError(missing("int8", "export", error)) from error
        nncf.set_log_level("ERROR")
        proto = onnx.load_from_string(model)
        flips = {"flip_test": np.array(False)} if len(proto.graph.input) > 1 else {}
        proto = nncf.quantize(
            proto,
            nncf.Dataset([{"image": crop[None], **flips} for crop in crops]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=_behind_the_stages(proto.graph)),
        )
    return finished(proto, facts, Signature(signature.input_px, signature.output, "int8"), metadata or {})


def save(model: bytes, path: Path) -> None:
    """Write the file with its checksum; raises OSError naming it when it can't be written."""
    write_atomically(path, lambda part: part.write_bytes(with_checksum(model)))


def halved(proto: Any) -> None:
    """Store an `onnx.ModelProto`'s large float32 numbers as fp16; the network still computes in fp32.

    Small ones (biases, scales) stay as they are: there is nothing to be saved. Raises EngineError for numbers
    that fp16 doesn't reach.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for number, tensor in enumerate(proto.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        full = numpy_helper.to_array(tensor)
        if full.size < FEWEST_HALVED:
            continue
        if np.abs(full).max() > np.finfo(np.float16).max:
            raise EngineError(f"{tensor.name} has numbers too large for fp16: export without --half")
        name, short = str(tensor.name), f"{tensor.name}_fp16"
        casts.append(helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT))
        proto.graph.initializer[number].CopyFrom(numpy_helper.from_array(full.astype(np.float16), short))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def finished(proto: Any, facts: str, signature: Signature, metadata: Mapping[str, str]) -> bytes:
    """The bytes of an `onnx.ModelProto` with what it says of itself and the place for a checksum, anew.

    The exporter's own notes, which name folders of this machine and make up most of a small file, are left
    out.
    """
    for field in ("value_info", "metadata_props"):
        proto.graph.ClearField(field)
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    entries = dict(metadata)
    proto.producer_name, proto.doc_string = "hourglass", entries.pop("doc_string", "")
    proto.producer_version = entries.get("version", "")
    if "precision" in entries:
        entries["precision"] = signature.precision
    entries |= {ENTRY: said(facts, signature), CHECKSUM_KEY: NO_CHECKSUM}
    del proto.metadata_props[:]
    for key, value in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def _behind_the_stages(graph: Any) -> list[str]:
    """Names of the nodes that no stage depends on: those that decode."""
    makers = {made: node for node in graph.node for made in node.output}
    needed: set[str] = set()
    waiting = [entry.name for entry in graph.output if entry.name.startswith("stage_")]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting += node.input
    return [node.name for node in graph.node if node.name not in needed]
