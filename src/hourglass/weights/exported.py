"""The facts of weights and of exported files, without the network, and without torch where that can be."""

import json
from pathlib import Path

from hourglass.engines import onnx_file, openvino_file
from hourglass.engines.entry import Signature
from hourglass.weights.facts import WeightFacts, WeightsError
from hourglass.weights.published import resolve

_LARGEST_HEADER = 100_000_000
"""Of a safetensors file; the format's own limit."""


def read_facts(name: str | Path | None = None) -> WeightFacts:
    """The facts of weights by bundled name, file, folder or hub id; None is the bundled default.

    Raises FileNotFoundError, WeightsError or EngineError, naming the weights, when they can't be had or read.
    """
    path = resolve(name)
    if path.suffix == ".onnx":
        _, text, signature = onnx_file.read(path)
        return exported_facts(path, text, signature)
    if path.suffix == ".xml":
        _, text, signature = openvino_file.read(path)
        return exported_facts(path, text, signature)
    if path.suffix == ".pt2":
        from hourglass.engines import torch_export_engine

        *_, text, signature = torch_export_engine.read(path)
        return exported_facts(path, text, signature)
    return _facts_of_weights(path)


def exported_facts(path: Path, text: str, signature: Signature) -> WeightFacts:
    """The facts (JSON) in an exported file; raises WeightsError, naming it, where they are none."""
    try:
        facts = WeightFacts.from_json(text)
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: the facts beside the network can't be read: {error}") from error
    if facts.input_px != signature.input_px:
        raise WeightsError(
            f"{path} takes crops of {signature.input_px} px, but its facts say {facts.input_px}"
        )
    return facts


def _facts_of_weights(path: Path) -> WeightFacts:
    """Out of a safetensors file's header, which is JSON behind its length in eight bytes."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= _LARGEST_HEADER else {}
        return WeightFacts.from_json(header["__metadata__"]["facts"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path} is no weight file of hourglass, or damaged: {error}") from error
