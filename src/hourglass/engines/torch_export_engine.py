"""Networks as programs of `torch.export` (.pt2): torch runs them without our classes, on any device."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from hourglass.core.files import reason, write_atomically
from hourglass.engines.engine import (
    ENTRY,
    EngineError,
    Signature,
    check_crops,
    example,
    quiet,
    ready,
    said,
    signature_of,
    stage_names,
    stages_of,
)
from hourglass.engines.pt2 import Program, open_archive, parse

_STUMBLES = (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError, RecursionError)
"""What damaged or foreign parts of a file make its readers raise."""


class TorchExportNetwork(nn.Module):
    """Crops (B, 3, S, S) uint8 to what the network answered, as its own `forward` does, on any device.

    Args:
        program: the steps, as `read` gives them.
        tensors: weights and constants by name.
        names: of the answers.
        signature: of the network.
    """

    def __init__(
        self, program: Program, tensors: Mapping[str, Tensor], names: Sequence[str], signature: Signature
    ) -> None:
        super().__init__()
        self.program, self.signature, self.output = program, signature, signature.output
        self._names = tuple(names)
        # A name in the network has dots, which a buffer's must not have.
        self._buffer_of = {name: f"tensor_{i}" for i, name in enumerate(tensors)}
        for name, buffer in self._buffer_of.items():
            self.register_buffer(buffer, tensors[name])

    def forward(self, image: Tensor) -> list[Tensor]:
        return stages_of(self.answers(image))

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """All that the program answers with, by name."""
        check_crops(image, self.signature, anywhere=True)
        tensors = {name: self.get_buffer(buffer) for name, buffer in self._buffer_of.items()}
        try:
            answer = self.program.run(image, tensors)
        except torch.OutOfMemoryError:
            raise
        except _STUMBLES as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(f"the exported program can't be run: {reason}") from error
        return dict(zip(self._names, answer, strict=True))


class _Named(nn.Module):
    """A network that answers with a dictionary."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.network(image), strict=True))


def convert(network: nn.Module, input_px: int, names: Sequence[str] = ()) -> torch.export.ExportedProgram:
    """A program for any number of crops of this side, on the CPU, that answers with a dictionary.

    `names` are those of what the network answers with, where that is more than its stages. Raises
    EngineError where torch can't trace the network.
    """
    network = ready(network)
    names = names or stage_names(network, input_px)
    crops = example(input_px).expand(2, -1, -1, -1).contiguous()
    try:
        with quiet():
            program = torch.export.export(
                _Named(network, names).eval(),
                (crops,),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise EngineError(f"torch can't export this network: {reason(error, first_line=True)}") from error
    program.graph.eliminate_dead_code()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # folders of this machine
    return program


def save(
    program: torch.export.ExportedProgram,
    path: Path,
    names: Sequence[str],
    facts: str,
    signature: Signature,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `path` (.pt2), with the facts (JSON) and the metadata among its extra files.

    Raises EngineError for another suffix, OSError naming the file when it can't be written.
    """
    if path.suffix != ".pt2":
        raise EngineError(f"{path}: torch's exported programs end in .pt2")
    extra = {
        f"{ENTRY}.json": said(facts, signature),
        "outputs.json": json.dumps(list(names)),
        "metadata.json": json.dumps(dict(metadata or {}), indent=1),
    }
    buffer = BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files=extra)
    write_atomically(path, lambda part: part.write_bytes(buffer.getvalue()))


def read(path: Path) -> tuple[Program, dict[str, Tensor], tuple[str, ...], str, Signature]:
    """Program, tensors, names of the answers, facts (JSON) and signature of a file that `save` wrote.

    Nothing in the file is unpickled, imported or evaluated. Raises EngineError, naming the file, for one
    that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    try:
        archive = open_archive(path.read_bytes())
    # zipfile says NotImplementedError for a compression or version that damaged bytes ask for.
    except (BadZipFile, EOFError, NotImplementedError, *_STUMBLES) as error:
        raise EngineError(
            f"{path} can't be read as a program of torch.export: {_what(error)}; it is damaged, foreign, or "
            f"of another version of torch than {torch.__version__}: export it again"
        ) from error
    facts, signature = signature_of(archive.extra.get(f"{ENTRY}.json", ""), path)
    try:
        program = parse(archive.program, archive.tensors)
        names = tuple(str(name) for name in json.loads(archive.extra["outputs.json"]))
        if len(names) != len(program.outputs):
            raise ValueError(f"it has {len(program.outputs)} answers and {len(names)} names for them")
    except _STUMBLES as error:
        raise EngineError(
            f"the program in {path} can't be run here: {_what(error)}; export it again with this version"
        ) from error
    return program, archive.tensors, names, facts, signature


def _what(error: Exception) -> str:
    """What is wrong, in a few words."""
    said: Any = (str(error).strip().splitlines() or [""])[0]
    return f"{said} is missing" if isinstance(error, KeyError) else said or type(error).__name__
