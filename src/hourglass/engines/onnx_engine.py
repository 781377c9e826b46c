"""Networks that ONNX Runtime runs, and the ONNX files that any other program can."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.core.files import (
    CHECKSUM_KEY,
    NO_CHECKSUM,
    is_damaged,
    reason,
    with_checksum,
    write_atomically,
)
from hourglass.engines.engine import (
    ENTRY,
    EngineError,
    Signature,
    check_calibration,
    check_crops,
    example,
    quiet,
    ready,
    said,
    signature_of,
    stage_names,
    stages_of,
)

OPSET = 20


class OnnxNetwork(nn.Module):
    """Crops (B, 3, S, S) uint8 on the CPU to what the network answered, as its own `forward` does.

    Args:
        model: the bytes of an ONNX file, as `convert` gives them.
        signature: of the network.
        threads: 0 for as many as torch uses.
    """

    own_threads = True
    """They run beside torch's; see `inference.forward`."""

    def __init__(self, model: bytes, signature: Signature, threads: int = 0) -> None:
        super().__init__()
        runtime = _onnxruntime()
        self.model, self.signature, self.output = model, signature, signature.output
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [entry.name for entry in self._session.get_outputs()]

    def forward(self, image: Tensor) -> list[Tensor]:
        return stages_of(self.answers(image))

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """All that the file answers with, by name."""
        check_crops(image, self.signature)
        answer = self._session.run(self._names, {"image": image.contiguous().numpy()})
        return {name: torch.from_numpy(part) for name, part in zip(self._names, answer, strict=True)}


def convert(
    network: nn.Module,
    input_px: int,
    facts: str = "",
    output: str = "heatmap",
    names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of an ONNX file: `image` (batch, 3, S, S) uint8 to `stage_1`, `stage_2` ..., any batch.

    Args:
        facts: JSON, for the entry `hourglass` of the metadata.
        output: what the stages are, as the network says.
        names: of what the network answers with, where that is more than its stages.
        metadata: further entries; `doc_string` goes to the model's own.

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
    for node in proto.graph.node:
        del node.metadata_props[:]  # the exporter's notes, with folders of this machine
    _describe(proto, facts, Signature(input_px, output, "fp32"), metadata or {})
    return bytes(proto.SerializeToString())


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
        raise EngineError(f"ONNX needs a package ({error}); pip install -e '.[export]'") from error
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
            raise EngineError(f"int8 needs nncf ({error}); pip install -e '.[export]'") from error
        nncf.set_log_level("ERROR")
        proto = onnx.load_from_string(model)
        proto = nncf.quantize(
            proto,
            nncf.Dataset([{"image": crop[None]} for crop in crops]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=_behind_the_stages(proto.graph)),
        )
    quantised = Signature(signature.input_px, signature.output, "int8")
    _describe(proto, facts, quantised, metadata or {})
    return bytes(proto.SerializeToString())


def save(model: bytes, path: Path) -> None:
    """Write the file with its checksum; raises OSError naming it when it can't be written."""
    write_atomically(path, lambda part: part.write_bytes(with_checksum(model)))


def read(path: Path) -> tuple[bytes, str, Signature]:
    """Bytes, facts (JSON) and signature of an ONNX file that `convert` made.

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    raw = path.read_bytes()
    if is_damaged(raw):
        raise EngineError(f"{path} is damaged, or was changed after it was exported; export it again")
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        found = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the runtime raises kinds of its own
        raise EngineError(
            f"{path} can't be read by ONNX Runtime {runtime.__version__}: damaged or newer; export it again"
        ) from error
    if ENTRY not in found:
        raise EngineError(f"{path} is a model of another program; export one with hourglass")
    return raw, *signature_of(found[ENTRY], path)


def _describe(proto: Any, facts: str, signature: Signature, metadata: Mapping[str, str]) -> None:
    """Put facts, signature, metadata and the place for a checksum into an ONNX model, anew."""
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


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"onnxruntime is missing ({error}); pip install -e '.[export]'") from error
    return onnxruntime
