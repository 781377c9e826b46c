"""What an exported file says of itself: our format, the weights' facts, and what goes in and comes out."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = "hourglass-engine-2"
"""Of ONNX and OpenVINO files: `image` and `flip_test` in; joints, scores and so on out, of every stage.

Version 1, of hourglass 0.1, had heatmaps only and left the flip test to whoever ran it.
"""
PT2_FORMAT = "hourglass-engine-1"
"""Of torch's exported programs: crops in, the network's own answers out."""

ENTRY = "hourglass"
"""The entry that holds it, and the facts as JSON, in a file's metadata."""


class EngineError(ValueError):
    """An engine that can't be had or a file that can't be used; the message says what to do."""


@dataclass(frozen=True)
class Signature:
    """What an exported file says of its network beyond the weights' facts.

    Args:
        input_px: side of the crop; no other fits.
        output: what its stages are: `heatmap` or `coordinates`, of a program also `logits`.
        precision: `fp32`, `fp16` (stored so, computed in fp32) or `int8`, what the numbers in the file are.
    """

    input_px: int
    output: str
    precision: str


def said(facts: str, signature: Signature, version: str = FORMAT) -> str:
    """The text of an engine file's entry: our format, the facts (JSON) and the signature."""
    return json.dumps({"format": version, "facts": facts, **asdict(signature)})


def signature_of(text: str, path: Path, version: str = FORMAT) -> tuple[str, Signature]:
    """Facts (JSON) and signature out of what `said` gave; raises EngineError naming the file."""
    try:
        raw = json.loads(text)
        written = raw.pop("format")
        facts = str(raw.pop("facts"))
        if written == version:
            return facts, Signature(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error
    raise EngineError(
        f"{path} is of the format {written!r}, and this version of hourglass reads {version!r}: export the "
        "weights again (hourglass export)"
    )
