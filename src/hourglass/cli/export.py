"""`hourglass export`."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from hourglass.export.parity import Parity, Progress, Tolerance
    from hourglass.export.people import People
    from hourglass.weights.facts import WeightFacts

TARGETS = ("onnx", "openvino", "torch-export", "web")


def export(
    weights: Annotated[
        str | None,
        typer.Argument(help="Bundled name, file, folder or hub id; without one, the bundled network."),
    ] = None,
    to: Annotated[str, typer.Option(help="onnx, openvino, torch-export or web.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="The .onnx, .xml or .pt2 file to write, or web's new folder; else by the name."),
    ] = None,
    stacks: Annotated[str, typer.Option(help="Use the first so many stacks only.")] = "all",
    int8: Annotated[
        str,
        typer.Option(
            metavar="CALIBRATION",
            help="Int8 convolutions; photos (folder, glob) or a pack to measure ranges on.",
        ),
    ] = "",
    decode_in_graph: Annotated[
        bool,
        typer.Option("--decode-in-graph", help="Let torch's program answer with joints, as the others do."),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="onnx, openvino: store large tensors as fp16, at half the size.")
    ] = False,
    check: Annotated[
        str, typer.Option(metavar="PATH", help="Compare with torch on these photos (folder, glob) or a pack.")
    ] = "",
    data: Annotated[
        str,
        typer.Option(help="Compare on annotated people: lspet, lsp, mpii, flic, coco, pack or synthetic."),
    ] = "",
    root: Annotated[str, typer.Option(help="--data: its folder, the pack file, or COCO's photos.")] = "",
    split: Annotated[str, typer.Option(help="--data: which part, train, val or test.")] = "val",
    annotations: Annotated[str, typer.Option(help="--data coco: the JSON file.")] = "",
    people: Annotated[int, typer.Option(min=0, help="Compare on at most so many people; 0: all.")] = 500,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="WEIGHTS", help="--to web: offer this network, too; several times."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(help="--to web: a copy of onnxruntime-web's npm package; else it is fetched."),
    ] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write what was made as JSON; - prints it.")] = "",
) -> None:
    """Write weights as a file for ONNX Runtime, OpenVINO or torch alone, or as a page that runs in a browser.

    The file takes uint8 crops in any number, answers with joints, and says how: names, colours, licence.
    Then it is run and compared with torch, and deleted if it answers otherwise (exit code 2). Without
    --check or --data the people are rendered ones; photos of the kind that you have tell more.

    Example: hourglass export hg2_small_192 --to onnx --half

    Then: hourglass predict photos --weights hg2_small_192.onnx

    Quick on CPUs: hourglass export --to openvino --int8 photos --data lspet --root data/lspet

    For a static host: hourglass export --to web --out site
    """
    if to not in TARGETS:
        raise ValueError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if json not in ("", "-") and Path(json).is_dir():
        raise IsADirectoryError(f"--json {json} is a folder, not a file")
    if to == "web":
        given = {
            "--int8": int8,
            "--half": half,
            "--decode-in-graph": decode_in_graph,
            "--check": check,
            "--data": data,
        }
        wrong = [name for name, used in given.items() if used]
        _export_web(weights, also or [], out, stacks, runtime, json, wrong)
        return
    if runtime is not None or also:
        raise ValueError(f"{'--also' if also else '--runtime'} goes with --to web")
    if check and data:
        raise ValueError("give --check PATH or --data, not both")
    if (root or annotations) and not data:
        raise ValueError("--root and --annotations are of --data KIND; photos go with --check PATH")
    _export_file(
        weights,
        to,
        out,
        stacks,
        int8,
        half,
        decode_in_graph,
        (check, data, root, split, annotations, people),
        json,
    )


def _export_file(
    weights: str | None,
    to: str,
    out: Path | None,
    stacks: str,
    int8: str,
    half: bool,
    decode_in_graph: bool,
    source: tuple[str, str, str, str, str, int],
    json: str,
) -> None:
    from hourglass.export.finder import export_finder
    from hourglass.export.run import ParityError, export_file, tolerance
    from hourglass.export.write import SUFFIXES, check_plain, check_target, first_stacks
    from hourglass.weights.facts import finds_people
    from hourglass.weights.load import load_network
    from hourglass.weights.published import resolve

    made_from = resolve(weights)
    network, facts = load_network(made_from)
    check_plain(network)
    if finds_people(facts):
        if to != "onnx" or int8 or stacks != "all":
            raise ValueError(
                f"{facts.name} finds people: it is written with --to onnx, without --int8 and --stacks"
            )
        digest = sha256(made_from.read_bytes()).hexdigest()
        file = out or Path(f"{Path(facts.name).name}.onnx")
        apart = export_finder(network, facts, file, half=half, made_from=digest, say=_say)
        told = {"out": str(file), "to": to, "weights": facts.name, "heatmaps_max": apart, "passed": True}
        _write_json(json, told)
        if json != "-":
            typer.echo(f"{file}: maps differ from torch's by {apart:.1e} of their norm")
        return
    network, facts = first_stacks(network, facts, _count(stacks))
    path = out or Path(f"{Path(facts.name).name}{SUFFIXES[to]}")  # type: ignore[index]  # checked before
    check_target(to, path, bool(int8), half)  # type: ignore[arg-type]
    people = _people(network, facts, *source)
    crops = _calibration(int8, weights) if int8 else None
    told = {
        "out": str(path),
        "to": to,
        "precision": "int8" if int8 else "fp16" if half else "fp32",
        "decode_in_graph": decode_in_graph or to != "torch-export",
        "stacks": stacks,
        "weights": facts.name,
        "input_px": facts.input_px,
        "licence": facts.licence,
        "calibration_people": None if crops is None else len(crops),
        "checked_on": people.source,
        "rendered": people.rendered,
    }
    limits = tolerance(bool(int8), half)
    try:
        with _bar() as progress:
            done = export_file(
                network,
                facts,
                to,  # type: ignore[arg-type]
                path,
                people,
                calibration=crops,
                decode_in_graph=decode_in_graph,
                half=half,
                made_from=sha256(made_from.read_bytes()).hexdigest(),
                say=_say,
                progress=progress,
            )
    except ParityError as error:
        _write_json(json, {**told, "files": [], "passed": False, **_numbers(error.parity, limits)})
        raise
    size = sum(file.stat().st_size for file in done.files)
    files = {"files": [str(file) for file in done.files], "bytes": size}
    _write_json(json, {**told, **files, "passed": True, **_numbers(done.parity, limits)})
    if json != "-":
        _print(done.files, size, told, done.parity, limits)


def _count(stacks: str) -> int | None:
    from hourglass.cli.options import number_of_stacks

    count = number_of_stacks(stacks)
    if count == "auto":
        raise ValueError("--stacks auto needs torch, which stops where it likes; give a number")
    return count


def _people(
    network: "nn.Module",
    facts: "WeightFacts",
    check: str,
    data: str,
    root: str,
    split: str,
    annotations: str,
    most: int,
) -> "People":
    from hourglass.export.people import of_path, of_records, rendered

    if data:
        from hourglass.data.loading.records import load_records
        from hourglass.evaluation.evaluate import check_skeleton
        from hourglass.recipe.data import DataRecipe

        recipe = DataRecipe(
            name=data, root=root, annotations=annotations, skeleton=facts.skeleton.name, people=most
        )
        records = load_records(recipe, split)
        check_skeleton(facts.skeleton, records[0].skeleton)
        with _bar() as progress:
            return of_records(records, facts, f"{data} {split}", most, progress, data == "synthetic")
    with _bar() as progress:
        if check:
            return of_path(check, network, facts, most, progress)
        return rendered(facts, progress)


def _calibration(source: str, weights: str | None) -> "npt.NDArray[np.uint8]":
    from hourglass.inference.calibration import calibration_crops

    with _bar() as progress:
        return calibration_crops(source, weights, progress)


def _export_web(
    weights: str | None,
    also: list[str],
    out: Path | None,
    stacks: str,
    runtime: Path | None,
    json: str,
    wrong: list[str],
) -> None:
    if wrong:
        raise ValueError(f"{wrong[0]} does not go with --to web, whose page reads heatmaps and checks itself")
    if out is None:
        raise ValueError("--to web needs a new folder to write: --out FOLDER")
    from hourglass.engines import onnx_file
    from hourglass.web.browser.write import check_free, write_web
    from hourglass.weights.exported import exported_facts
    from hourglass.weights.published import bundled_networks

    check_free(out)
    networks = []
    for name in [weights, *also] if weights is not None else [*bundled_networks(), *also]:
        with _onnx_file(name, _count(stacks)) as path:
            model, text, signature = onnx_file.read(path)
            networks.append((model, exported_facts(path, text, signature), signature))
    facts = networks[0][1]
    write_web(out, networks, runtime=runtime, progress=_say)
    files = sorted(str(file) for file in out.rglob("*") if file.is_file())
    _write_json(json, {"out": str(out), "to": "web", "weights": facts.name, "stacks": stacks, "files": files})
    if json != "-":
        typer.echo(f"{out}: {len(files)} files; to try it: python -m http.server -d {out}")


@contextmanager
def _onnx_file(weights: str | None, stacks: int | None) -> Iterator[Path]:
    """The ONNX file of weights: the one that they have, or one that is written now and held to torch."""
    from tempfile import TemporaryDirectory

    from hourglass.weights.published import artifact_of, resolve

    path = resolve(weights)
    ready = path if path.suffix == ".onnx" else artifact_of(path)
    if ready is not None and stacks is None:
        yield ready
        return
    from hourglass.export.run import export_file
    from hourglass.export.write import check_plain, first_stacks
    from hourglass.weights.load import load_network

    network, facts = load_network(path)
    check_plain(network)
    network, facts = first_stacks(network, facts, stacks)
    with TemporaryDirectory() as folder, _bar() as progress:
        people = _people(network, facts, "", "", "", "", "", 0)
        out = Path(folder) / "model.onnx"
        export_file(network, facts, "onnx", out, people, half=True, say=_say, progress=progress)
        yield out


def _say(what: str) -> None:
    typer.echo(f"{what} ...", err=True)


@contextmanager
def _bar() -> "Iterator[Progress]":
    """A bar of people on standard error where that is a terminal, from the first of them on."""
    from hourglass.cli.options import people_bar

    with ExitStack() as stack:
        bar: list[Progress] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                bar.append(stack.enter_context(people_bar()))
            bar[0](done, total)

        yield progress if sys.stderr.isatty() else lambda done, total: None


def _numbers(parity: "Parity", limits: "Tolerance") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(parity), "pck_difference": parity.pck_difference, "tolerance": asdict(limits)}


def _write_json(json: str, report: dict[str, Any]) -> None:
    from json import dumps

    from hourglass.core.files import write_text_atomically

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
    elif json:
        write_text_atomically(Path(json), text)


def _print(
    files: "tuple[Path, ...]", size: int, told: dict[str, Any], parity: "Parity", limits: "Tolerance"
) -> None:
    from rich.console import Console
    from rich.table import Table

    from hourglass.export.parity import FEWEST_SCORED

    names = " and ".join(file.name for file in files)
    typer.echo(f"{files[0].parent / names}: {told['precision']}, {size / 1e6:.1f} MB")
    table = Table("against torch", "file", "allowed", box=None, pad_edge=False)
    pck = parity.pck_difference
    judged = limits.pck if parity.scored >= FEWEST_SCORED else None
    rows = (
        ("heatmaps, largest relative error", parity.heatmaps_max, limits.heatmaps, "{:.1e}"),
        ("heatmaps, mean relative error", parity.heatmaps_mean, None, "{:.1e}"),
        ("joints, largest difference, px of the crop", parity.joint_px, limits.joint_px, "{:.3g}"),
        ("joints, largest difference, px of the picture", parity.picture_px, None, "{:.3g}"),
        ("joints, median difference, px of the crop", parity.median_px, limits.median_px, "{:.3g}"),
        ("joints, 95th percentile, px of the crop", parity.p95_px, limits.p95_px, "{:.3g}"),
        ("decoded in the graph, px of the crop", parity.decoded_px, limits.decoded_px, "{:.3g}"),
        (f"PCK@0.2, torch {parity.pck_torch or 0:.2f}, points", pck, judged, "{:+.2f}"),
    )
    for name, value, limit, form in rows:
        if value is not None:
            table.add_row(name, form.format(value), "" if limit is None else f"{limit:g}")
    Console().print(table)
    if parity.undecided:
        typer.echo(
            f"{parity.undecided} joints are undecided in torch itself (equal peaks) and left out above"
        )
    where = f"checked on {parity.people} people: {told['checked_on']}"
    typer.echo(where + ("; real photos (--check, --data) tell more" if told["rendered"] else ""))
