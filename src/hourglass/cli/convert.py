"""`hourglass convert`."""

from pathlib import Path
from typing import Annotated

import typer

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
        typer.Option(help="The other way: state-dict (OUT.pth), folder (OUT) or hub (OUT is owner/name)."),
    ] = "",
    data: Annotated[str, typer.Option(help="Trained on mpii, lsp, coco or flic; else told by joints.")] = "",
    input_px: Annotated[
        int | None, typer.Option(help="Side of the crops it was trained on; 256 where not given.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the weights; else after the file.")] = "",
    licence: Annotated[str, typer.Option(help="Terms of the weights, which no checkpoint says.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Store convolutions in fp16.")] = False,
    private: Annotated[bool, typer.Option("--private", help="--to hub: only you can see it.")] = False,
) -> None:
    """Turn another project's hourglass checkpoint into weights for evaluate and predict; or give ours away.

    Nothing in a checkpoint is run. What its network expects of colours, joints, heatmaps and crops goes into
    the file that is written.

    Example: hourglass convert hg2.pth --from bearpaw hg2.safetensors

    For other code: hourglass convert hg2_small --to state-dict hg2_small.pth
    """
    if to:
        given = {"--from": source, "--data": data, "--input-px": input_px, "--name": name}
        given |= {"--licence": licence, "--half": half}
        wrong = [option for option, value in given.items() if value]
        if wrong:
            raise ValueError(f"{wrong[0]} describes another project's checkpoint: it does not go with --to")
        if private and to != "hub":
            raise ValueError("--private goes with --to hub")
        _export(weights, to, out, private)
        return
    if private:
        raise ValueError("--private goes with --to hub")
    _import(
        Path(weights), Path(out), source, data, 256 if input_px is None else input_px, name, licence, half
    )


def _import(
    path: Path, out: Path, source: str, data: str, input_px: int, name: str, licence: str, half: bool
) -> None:
    from hourglass.convert.importing import AUTO, convert_file

    done = convert_file(path, out, source or AUTO, data, input_px, name, licence, half)
    facts, network = done.facts, done.facts.network
    stacks = f"{network.stacks} stack" + ("" if network.stacks == 1 else "s")
    joints = f"{len(facts.skeleton)} joints ({facts.skeleton.name})"
    typer.echo(
        f"{out}: {stacks} of {network.features} features from {done.source}, {joints}, {facts.input_px} px"
    )
    if done.unused:
        typer.echo(f"left out: {done.unused} tensors that no picture passes")
    if done.data_assumed:
        typer.echo(f"taken to be trained on {done.data}; --data says otherwise")


def _export(weights: str, to: str, out: str, private: bool) -> None:
    from hourglass.convert.sharing import push_to_hub, save_to_folder, write_state_dict

    if to not in TARGETS:
        raise ValueError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if to == "state-dict":
        facts = write_state_dict(weights, Path(out))
        typer.echo(
            f"{out}: state dict of {facts.name}, {facts.network.build} with {len(facts.skeleton)} joints"
        )
    elif to == "folder":
        typer.echo(f"{save_to_folder(weights, Path(out))}: weights and model card")
    else:
        typer.echo(push_to_hub(weights, out, private))
