"""What an exported file says of itself in words that any program can read, beside our own facts."""

import json
from collections.abc import Sequence
from importlib import metadata as installed

import torch
from torch import Tensor

from hourglass.weights.facts import WeightFacts

_DECODINGS = {
    "argmax": "the highest cell",
    "quarter": "the highest cell, moved 0.25 towards the higher neighbour on each axis",
    "dark": "the highest cell and one Newton step on the logarithm of the smoothed map (DARK)",
    "soft": "the centre of mass around the highest cell",
}
_STAGES = {
    "heatmap": "heatmaps",
    "logits": "maps whose softmax over all cells is a heatmap",
    "centers": "maps of where people's middles are, and of how large they are (inference.detection.centers)",
    "coordinates": "joints x, y from -0.5 to 0.5 across the crop, 0 its middle",
}


def describe(
    facts: WeightFacts,
    output: str,
    stages: Sequence[Tensor],
    precision: str,
    decoded: bool,
    flips: bool = False,
    made_from: str = "",
) -> dict[str, str]:
    """Entries of texts; lists and numbers are JSON. `doc_string` is a sentence or two for people.

    Args:
        output: what the stages are, as the network says.
        stages: its answers to some crops, for their shapes.
        precision: `fp32`, `fp16` or `int8`, of the numbers in the file.
        decoded: the file answers with joints too.
        flips: it does a flip test itself, where it is asked to, and tells all that `engines.onnx_file` lists.
        made_from: sha256 of the weight file.
    """
    side, joints = facts.input_px, len(facts.skeleton)
    maps = [stage for stage in stages if stage.ndim == 4]
    shapes = {f"stage_{i + 1}": ["batch", *stage.shape[1:]] for i, stage in enumerate(stages)}
    if decoded:
        shapes = {"keypoints": ["batch", joints, 2], "scores": ["batch", joints], **shapes}
    if flips and maps:
        shapes["covariances"] = ["batch", joints, 2, 2]
    if flips and facts.calibration is not None:
        shapes["confidences"] = ["batch", joints]
    entries = {
        "doc_string": _sentence(facts, output, decoded),
        "name": facts.name,
        "joints": json.dumps(facts.skeleton.joints),
        "skeleton": json.dumps(facts.skeleton.to_dict()),
        "input": f"image: (batch, 3, {side}, {side}) uint8, RGB, a square crop around one person; the file "
        "divides by 255 and subtracts and divides by mean and std itself"
        + ("; flip_test: one bool, whether to average with the mirrored crop's answer" if flips else ""),
        "input_px": str(side),
        "box_margin": json.dumps(facts.box_margin),
        "mean": json.dumps(facts.mean),
        "std": json.dumps(facts.std),
        "outputs": json.dumps(shapes),
        "stages": _STAGES[output],
        "precision": precision,
        "decode_in_graph": json.dumps(decoded),
        "decoding": facts.decoding,
        "licence": facts.licence,
        "data": facts.data,
        "source": facts.source,
        "metrics": json.dumps(dict(facts.metrics)),
        "version": installed.version("hourglass-pose"),
        "weights_sha256": made_from,
        "torch": torch.__version__,
    }
    if maps:
        entries |= {
            "heatmap_strides": json.dumps([side / stage.shape[-1] for stage in maps]),
            "heatmap_convention": "pixel = (cell + offset + 0.5) * stride - 0.5, integers being centres",
            "heatmap_offset": json.dumps(facts.offset_hm),
            "sigma_hm": json.dumps(facts.sigma_hm),
            "signed": json.dumps(facts.signed),
        }
    return entries


def _sentence(facts: WeightFacts, output: str, decoded: bool) -> str:
    side, joints = facts.input_px, len(facts.skeleton)
    read = f"{joints} joints of the person in a square RGB crop of {side} px (uint8)"
    if decoded:
        how = f": {_DECODINGS[facts.decoding]}" if output != "coordinates" else ""
        answers = f"keypoints are pixels of the crop{how}; scores are the heights of the peaks"
    else:
        answers = f"the last stage is the answer: {_STAGES[output]}"
    terms = f" Licence: {facts.licence}." if facts.licence else ""
    return f"{facts.name}: {read}; {answers}.{terms}"
