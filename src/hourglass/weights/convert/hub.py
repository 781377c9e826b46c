"""Our weights for others: a plain state dict, a folder with a model card, a repository on the hub."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hourglass.core.files import (
    reason,
    write_atomically,
    write_text_atomically,
)
from hourglass.models.parts import trainable_parameters
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import load_weights, save_checkpoint
from hourglass.weights.convert.published_sources import source_of
from hourglass.weights.facts import WeightFacts, WeightsError
from hourglass.weights.load import load_network
from hourglass.weights.published import HUB_FILE, hub_errors, resolve

CARD = "README.md"
CONFIG = "config.json"
"""The facts once more, for people and for the hub; `load_network` reads those in the weight file."""

_KNOWN_LICENCES = (
    "apache-2.0",
    "mit",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "bsd-3-clause",
)
"""Identifiers of the hub; another licence is named in words."""


def write_state_dict(weights: str | Path | None, out: Path) -> WeightFacts:
    """Write a network's tensors, by our names and in float32, for `torch.load(out, weights_only=True)`.

    The facts don't go along: they are returned. Raises FileNotFoundError or WeightsError, naming the weights,
    ValueError for an `out` that does not end in .pth or .pt, OSError naming `out`.
    """
    if out.suffix not in (".pth", ".pt"):
        raise ValueError(f"{out} must end in .pth or .pt, as a state dict does")
    network, facts = load_network(weights)
    save_checkpoint(out, network.state_dict())
    return facts


def save_to_folder(weights: str | Path | None, folder: Path, repository: str = "owner/name") -> WeightFacts:
    """Write a folder that `load_network` reads and that can be uploaded as it is; returns the weights' facts.

    It holds the weights, their facts as JSON, and a model card whose example loads from `repository`. A
    folder that this function wrote before is written over.

    Raises FileNotFoundError or WeightsError, naming the weights, FileExistsError when the folder holds files
    of others, OSError naming what can't be written.
    """
    network, facts = load_network(weights)
    content = resolve(weights).read_bytes()
    _check_free(folder)
    write_atomically(folder / HUB_FILE, lambda part: part.write_bytes(content))
    write_text_atomically(folder / CONFIG, json.dumps(json.loads(facts.to_json()), indent=1) + "\n")
    write_text_atomically(folder / CARD, model_card(facts, trainable_parameters(network), repository))
    return facts


def _check_free(folder: Path) -> None:
    """Raise FileExistsError unless a folder has no weights, or those that `save_to_folder` wrote."""
    there = [p.name for p in sorted(folder.glob("*.safetensors")) if p.name != HUB_FILE]
    if (folder / HUB_FILE).exists():
        try:
            load_weights(folder / HUB_FILE)
        except WeightsError:
            there.append(HUB_FILE)
    else:
        there += [name for name in (CARD, CONFIG) if (folder / name).exists()]
    if there:
        raise FileExistsError(f"{folder} already holds {', '.join(there)}; give an empty folder")


def push_to_hub(weights: str | Path | None, repository: str, private: bool = False) -> str:
    """Upload weights and model card to `owner/name` on the hub, and return the address of the commit.

    The repository is made if need be, `private` or not. Who uploads is whoever is logged in there
    (`hf auth login`). Raises what `save_to_folder` raises, ValueError for a name that is no `owner/name`, and
    OSError with the hub's reason.
    """
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(f"{repository!r} is no repository of the hub: give owner/name")
    from huggingface_hub import HfApi

    # ValueError comes of a card that the hub doesn't take.
    refusals: tuple[type[Exception], ...] = (*hub_errors(), ValueError)
    with tempfile.TemporaryDirectory() as folder:
        save_to_folder(weights, Path(folder), repository)
        hub = HfApi()
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=repository, folder_path=folder, commit_message="Upload weights with hourglass"
            )
        except refusals as error:
            raise OSError(f"{repository} can't be uploaded: {reason(error, first_line=True)}") from error
    return str(commit)


def model_card(facts: WeightFacts, parameters: int, repository: str = "owner/name") -> str:
    """A model card in the hub's form, from what the weights say of themselves."""
    from huggingface_hub import ModelCardData

    head: dict[str, Any] = {
        "library_name": "hourglass-pose",
        "pipeline_tag": "keypoint-detection",
        "tags": ["pose-estimation", "stacked-hourglass"],
    }
    if facts.licence:
        known = facts.licence.lower() in _KNOWN_LICENCES
        head |= {"license": facts.licence.lower() if known else "other"}
        head |= {} if known else {"license_name": facts.licence}
    rows = "\n".join(f"| {label} | {text} |" for label, text in _rows(facts, parameters))
    parts = [
        f"---\n{ModelCardData(**head).to_yaml()}\n---\n\n# {_cell(facts.name)}\n",
        f"A pose network that finds {len(facts.skeleton)} joints of one person at a time.\n",
        f"| | |\n|---|---|\n{rows}\n",
        "## Use\n\n```python\nfrom hourglass import Predictor\n\n"
        f'pose = Predictor.from_pretrained("{repository}")("photo.jpg")[0]\n```\n',
    ]
    measured = _measured(facts) or (
        "Nothing yet. `hourglass evaluate` scores these weights on annotated people."
    )
    parts.append(f"## Measured\n\n{measured}\n")
    parts.append("## Limits\n\n" + "\n".join(f"* {limit}" for limit in _limits(facts)) + "\n")
    if facts.recipe:
        parts.append(f"## Recipe\n\n```yaml\n{facts.recipe.strip()}\n```\n")
    return "\n".join(parts)


def _rows(facts: WeightFacts, parameters: int) -> list[tuple[str, str]]:
    """What the card's table says."""
    default = NetworkRecipe()
    options = [
        f"{k} {v}" for k, v in vars(facts.network).items() if v != getattr(default, k) and k != "build"
    ]
    rows = [
        ("network", _cell(", ".join([f"build {facts.network.build}", *options]))),
        ("supervised stages", f"{facts.network.stages}"),
        ("parameters", f"{parameters / 1e6:.3f} M"),
        ("joints", f"{_cell(facts.skeleton.name)}: {_cell(', '.join(facts.skeleton.joints))}"),
        ("input", f"{facts.input_px} x {facts.input_px} px, RGB, mean {facts.mean}, std {facts.std}"),
        ("crop", f"the longer side of the box around the joints times {facts.box_margin:g}"),
        ("heatmaps", f"Gaussians of {facts.sigma_hm:g} cells, read by `{facts.decoding}`"),
    ]
    if facts.offset_hm:
        rows.append(("convention", f"decoded cells are moved by {facts.offset_hm:g} to pixel-centre ones"))
    if facts.signed:
        rows.append(("hidden joints", "answered with a negative Gaussian"))
    rows += [
        ("training data", _cell(facts.data) or "not stated"),
        ("source", _cell(facts.source) or "trained with hourglass"),
        ("licence of the weights", _cell(facts.licence) or "not stated: ask whoever trained them"),
    ]
    kind = source_of(facts.source)
    if kind is not None:
        rows.append(("licence of the source's code", kind.licence))
    return rows


def _limits(facts: WeightFacts) -> list[str]:
    """What any weights of this package can't do, and what these can't."""
    limits = [
        "One person at a time, whole body in view, in a box from elsewhere or alone in the picture.",
        "People, poses and photos unlike the training data's are foreign to it, and errors need not be "
        "spread evenly over ages, bodies and clothes.",
        "Left and right are confused most often, on people seen from behind or upside down.",
        "Scores are heights of heatmap peaks, not probabilities"
        + (
            "."
            if facts.calibration is None
            else "; the confidences beside them are calibrated on the data above."
        ),
        "Photos of people come with terms of their own: see those of the training data before other uses.",
    ]
    if facts.source:
        limits.append("Converted from another project; its published scores are not measured again here.")
    return limits


def _measured(facts: WeightFacts) -> str:
    """The scores that travel with the weights, a line each."""
    lines = []
    for name, value in facts.metrics.items():
        items = value.items() if isinstance(value, dict) else [("", value)]
        told = ", ".join(f"{_cell(str(k))} {_cell(str(v))}".strip() for k, v in items)
        lines.append(f"* {_cell(name)}: {told}")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that can't break out of a table's cell."""
    return " ".join(text.replace("|", "\\|").split())
