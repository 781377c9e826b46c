"""`hourglass convert`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.weights.checkpoint import WeightFacts

TARGETS = ("state-dict", "folder", "hub")


def convert(
    weights: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Another project's checkpoint; with --to, our weights."),
    ],
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="The .safetensors file to write; with --to, see there."),
    ],
    source: Annotated[
        str, typer.Option("--from", help="bearpaw, anibali, princeton, mmpose, torch7, or auto.")
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            help="The other way, CHECKPOINT being our weights: state-dict (OUT.pth), folder (OUT) or hub "
            "(OUT is owner/name)."
        ),
    ] = "",
    data: Annotated[str, typer.Option(help="Trained on mpii, lsp, coco or flic; else told by joints.")] = "",
    input_px: Annotated[
        int | None, typer.Option(help="Side of the crops it was trained on; 256 where not given.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the weights; else after the file.")] = "",
    licence: Annotated[str, typer.Option(help="Terms of the weights, which no checkpoint says.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Store convolutions in fp16.")] = False,
    private: Annotated[bool, typer.Option("--private", help="--to hub: only you can see it.")] = False,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write what was made as JSON; - prints it.")] = "",
) -> None:
    """Turn another project's hourglass checkpoint into weights for evaluate and predict; or give ours away.

    Nothing in a checkpoint is run. What its network expects of colours, joints, heatmaps and crops goes into
    the file that is written.

    Example: hourglass convert hg2.pth --from bearpaw hg2.safetensors

    Then: hourglass predict photos --weights hg2.safetensors

    For other code: hourglass convert hg2_small --to state-dict hg2_small.pth

    For others to load: hourglass convert hg2.safetensors --to folder shared
    """
    if json not in ("", "-") and Path(json).is_dir():
        raise IsADirectoryError(f"--json {json} is a folder, not a file")
    if to:
        given = {"--from": source, "--data": data, "--input-px": input_px is not None, "--name": name}
        given |= {"--licence": licence, "--half": half}
        wrong = [option for option, value in given.items() if value]
        if wrong:
            raise ValueError(f"{wrong[0]} describes another project's checkpoint: it does not go with --to")
        if private and to != "hub":
            raise ValueError("--private goes with --to hub")
        _tell(json, *_export(weights, to, out, private))
        return
    if private:
        raise ValueError("--private goes with --to hub")
    side = 256 if input_px is None else input_px
    _tell(json, *_import(Path(weights), Path(out), source, data, side, name, licence, half))


def _import(
    path: Path, out: Path, source: str, data: str, input_px: int, name: str, licence: str, half: bool
) -> tuple[dict[str, Any], list[str]]:
    """What --json tells, and the lines without it."""
    from hourglass.weights.convert.importing import AUTO, convert_file
    from hourglass.weights.convert.published_sources import SOURCES

    done = convert_file(path, out, source or AUTO, data, input_px, name, licence, half)
    facts, network = done.facts, done.facts.network
    stacks = f"{network.stacks} stack" + ("" if network.stacks == 1 else "s")
    joints = f"{len(facts.skeleton)} joints ({facts.skeleton.name})"
    lines = [
        f"{out}: {stacks} of {network.features} features from {done.source}, {joints}, {facts.input_px} px"
    ]
    if done.unused:
        lines.append(f"left out: {done.unused} tensors that no picture passes")
    if done.data_assumed:
        lines.append(f"taken to be trained on {done.data}; --data says otherwise")
    if not licence:
        kind = SOURCES[done.source]
        lines.append(f"terms of the weights: not stated (--licence); code of {kind.project}: {kind.licence}")
    told = {"data_set": done.data, "data_assumed": done.data_assumed, "left_out": done.unused}
    return {"out": str(out), "from": done.source, **told, **_facts(facts)}, lines


def _export(weights: str, to: str, out: str, private: bool) -> tuple[dict[str, Any], list[str]]:
    """What --json tells, and the line without it."""
    from hourglass.weights.convert.hub import push_to_hub, save_to_folder, write_state_dict

    if to not in TARGETS:
        raise ValueError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if to == "state-dict":
        facts = write_state_dict(weights, Path(out))
        line = f"{out}: state dict of {facts.name}, {facts.network.build} with {len(facts.skeleton)} joints"
        return {"out": out, "to": to, **_facts(facts)}, [line]
    if to == "folder":
        facts = save_to_folder(weights, Path(out))
        return {"out": out, "to": to, **_facts(facts)}, [f"{out}: weights, their facts and a model card"]
    commit = push_to_hub(weights, out, private)
    return {"out": out, "to": to, "commit": commit}, [commit]


def _facts(facts: "WeightFacts") -> dict[str, Any]:
    """What the weights say of themselves, without the long parts."""
    told = asdict(facts)
    del told["recipe"], told["metrics"]
    return {**told, "skeleton": facts.skeleton.name, "joints": list(facts.skeleton.joints)}


def _tell(json: str, report: dict[str, Any], lines: list[str]) -> None:
    from json import dumps

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    for line in lines:
        typer.echo(line)
