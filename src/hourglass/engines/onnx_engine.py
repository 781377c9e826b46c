"""Networks that ONNX Runtime runs, and the ONNX files that any other program can."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hourglass.engines.engine import FORMAT, EngineError, Signature, example, quiet, ready
from hourglass.engines.openvino_engine import check_crops, signature_of

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

    def forward(self, image: Tensor) -> list[Tensor]:
        check_crops(image, self.signature)
        answer = self._session.run(None, {"image": image.contiguous().numpy()})
        return [torch.from_numpy(stage) for stage in answer]


def convert(network: nn.Module, input_px: int, facts: str = "", output: str = "heatmap") -> bytes:
    """The bytes of an ONNX file: `image` (batch, 3, S, S) uint8 to `stage_1`, `stage_2` ..., any batch.

    The facts (JSON) lie in its metadata under `hourglass`. Raises EngineError where the exporter's packages
    are missing or it can't express the network.
    """
    network = ready(network)
    crops = example(input_px).expand(2, -1, -1, -1)
    with torch.inference_mode():
        stages = len(network(crops))
    try:
        with quiet():
            program = torch.onnx.export(
                network,
                (crops,),
                input_names=["image"],
                output_names=[f"stage_{i + 1}" for i in range(stages)],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise EngineError(f"ONNX needs a package ({error}); pip install 'hourglass-pose[export]'") from error
    except torch.onnx.OnnxExporterError as error:
        raise EngineError(f"ONNX can't express this network: {str(error).splitlines()[0]}") from error
    assert program is not None
    proto = program.model_proto
    said = {"format": FORMAT, "facts": facts, **asdict(Signature(input_px, output, "fp32"))}
    entry = proto.metadata_props.add()
    entry.key, entry.value = "hourglass", json.dumps(said)
    return bytes(proto.SerializeToString())


def read(path: Path) -> tuple[bytes, str, Signature]:
    """Bytes, facts (JSON) and signature of an ONNX file that `convert` made.

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    raw = path.read_bytes()
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
    if "hourglass" not in found:
        raise EngineError(f"{path} is a model of another program; export one with hourglass")
    return raw, *signature_of(found["hourglass"], path)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime is missing ({error}); pip install 'hourglass-pose[export]'"
        ) from error
    return onnxruntime
