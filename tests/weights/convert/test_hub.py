"""Our weights for others: state dicts, folders with a model card, the hub."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from torch import Tensor

from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, WeightsError, save_weights
from hourglass.weights.convert.hub import model_card, push_to_hub, save_to_folder, write_state_dict
from hourglass.weights.convert.published_sources import SOURCES
from hourglass.weights.load import load_network, network_from_facts
from hourglass.weights.published import resolve

FACTS = WeightFacts(
    name="tiny",
    network=NetworkRecipe("workshop", stacks=1, features=8, depth=2),
    skeleton=LSP14,
    input_px=64,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    box_margin=1.4,
    licence="Apache-2.0",
    data="lspet train",
    recipe="train:\n  batch_size: 3",
    offset_hm=-0.375,
    source="open-mmlab/mmpose: x.pth",
    metrics={"PCK@0.2": {"mean": 61.25, "on": "val"}},
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save_weights(path, network_from_facts(FACTS).state_dict(), FACTS)
    return path


def answer(network: torch.nn.Module) -> Tensor:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        stages: list[Tensor] = network.eval()(image)
    return stages[-1]


def test_a_state_dict_is_tensors_only_and_gives_the_same_network(weights: Path, tmp_path: Path) -> None:
    assert write_state_dict(weights, tmp_path / "out" / "sd.pth") == FACTS
    state = torch.load(tmp_path / "out" / "sd.pth", weights_only=True)
    assert all(isinstance(value, Tensor) for value in state.values())
    other = network_from_facts(replace(FACTS, mean=(0.0, 0.0, 0.0)))
    other.load_state_dict(state)
    assert torch.equal(answer(other), answer(load_network(weights)[0]))


def test_a_state_dict_has_its_own_ending(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sd\.safetensors must end in \.pth or \.pt"):
        write_state_dict(weights, tmp_path / "sd.safetensors")


def test_a_folder_loads_as_it_was_saved(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    assert save_to_folder(weights, folder) == FACTS
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert WeightFacts.from_json((folder / "config.json").read_text()) == FACTS
    assert resolve(folder) == folder / "model.safetensors"
    network, facts = load_network(folder)
    assert facts == FACTS
    assert torch.equal(answer(network), answer(load_network(weights)[0]))
    save_to_folder(folder, folder)  # again, from itself
    assert load_network(folder)[1] == FACTS


def test_a_folder_with_other_weights_is_left_alone(weights: Path) -> None:
    with pytest.raises(FileExistsError, match=r"already holds mine\.safetensors"):
        save_to_folder(weights, weights.parent)
    assert sorted(p.name for p in weights.parent.iterdir()) == ["mine.safetensors"]


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_files_of_others_are_not_written_over(weights: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / name).write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError, match=f"project already holds {name}; give an empty folder"):
        save_to_folder(weights, folder)
    assert [p.read_bytes() for p in folder.iterdir()] == [b"of somebody else"]


def test_what_is_no_weights_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        save_to_folder(tmp_path / "x.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_the_weights_know(weights: Path, tmp_path: Path) -> None:
    save_to_folder(weights, tmp_path / "shared")
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.library_name == "hourglass-pose"
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "keypoint-detection"
    for text in (
        "# tiny",
        "| supervised stages | 1 |",
        "| network | build workshop, stacks 1, features 8, depth 2 |",
        f"| joints | lsp14: {', '.join(LSP14.joints)} |",
        "64 x 64 px, RGB, mean (0.1, 0.2, 0.3), std (0.4, 0.5, 0.6)",
        "times 1.4",
        "moved by -0.375",
        "| training data | lspet train |",
        "| source | open-mmlab/mmpose: x.pth |",
        "| licence of the weights | Apache-2.0 |",
        "| licence of the source's code | Apache-2.0 |",
        "## Limits",
        "Converted from another project",
        "* PCK@0.2: mean 61.25, on val",
        "batch_size: 3",
        'Predictor.from_pretrained("owner/name")',
    ):
        assert text in card.content
    count = sum(p.numel() for p in load_network(weights)[0].parameters())
    assert f"| parameters | {count / 1e6:.3f} M |" in card.content


def test_a_bare_card_does_not_invent_anything() -> None:
    facts = WeightFacts("bare", NetworkRecipe(), LSP14, 64, (0, 0, 0), (1, 1, 1))
    text = model_card(facts, 1_000_000)
    assert vars(ModelCard(text).data).get("license") is None
    assert "| licence of the weights | not stated" in text
    assert "| training data | not stated |" in text
    assert "## Measured\n\nNothing yet." in text
    assert "## Limits" in text
    for word in ("## Recipe", "convention", "source's code", "Converted", "negative Gaussian"):
        assert word not in text


def test_the_card_tells_what_else_differs() -> None:
    facts = replace(FACTS, signed=True, source="", offset_hm=0.0)
    assert "| hidden joints | answered with a negative Gaussian |" in model_card(facts, 1)


@pytest.mark.parametrize(("source", "licence"), [("bearpaw", "GPL-3.0"), ("princeton", "BSD-3-Clause")])
def test_the_licence_of_a_sources_code_is_told(source: str, licence: str) -> None:
    origin = f"{SOURCES[source].project}: hg.pth"
    text = model_card(replace(FACTS, source=origin, licence=""), 1)
    assert f"| licence of the source's code | {licence} |" in text
    assert "| licence of the weights | not stated" in text
    assert vars(ModelCard(text).data).get("license") is None


def test_words_of_others_do_not_break_the_card() -> None:
    odd = Skeleton("a|b\n# c", ("x|y", "z"))
    facts = WeightFacts(
        "n: [1]\n---",
        NetworkRecipe(),
        odd,
        64,
        (0, 0, 0),
        (1, 1, 1),
        licence="ask me: now\n# x",
        data="a\n|b|",
    )
    card = ModelCard(model_card(facts, 1))
    told = vars(card.data)
    assert (told["license"], told["license_name"]) == ("other", "ask me: now\n# x")
    headings = [line for line in card.content.splitlines() if line.startswith("#")]
    assert headings == ["# n: [1] ---", "## Use", "## Measured", "## Limits"]
    assert "| training data | a \\|b\\| |" in card.content


class Hub:
    """Stands for the hub; remembers what it was asked."""

    asked: list[tuple[str, dict[str, Any]]]
    error: Exception | None = None

    def create_repo(self, repository: str, **options: Any) -> None:
        self.asked.append(("create", {"repository": repository, **options}))
        if self.error is not None:
            raise self.error

    def upload_folder(self, **options: Any) -> str:
        files = {p.name: p.read_bytes() for p in Path(options["folder_path"]).iterdir()}
        self.asked.append(("upload", {**options, "files": files}))
        return f"https://hub/{options['repo_id']}/commit/1"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    made = type("Made", (Hub,), {"asked": [], "error": None})
    monkeypatch.setattr(huggingface_hub, "HfApi", made)
    return made


def test_the_hub_gets_weights_and_card(weights: Path, hub: type[Hub]) -> None:
    assert push_to_hub(weights, "me/pose", private=True) == "https://hub/me/pose/commit/1"
    (_, created), (_, uploaded) = hub.asked
    assert created == {"repository": "me/pose", "private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "me/pose"
    assert set(uploaded["files"]) == {"README.md", "config.json", "model.safetensors"}
    assert uploaded["files"]["model.safetensors"] == weights.read_bytes()
    assert 'from_pretrained("me/pose")' in uploaded["files"]["README.md"].decode()
    assert not Path(uploaded["folder_path"]).exists()


def test_a_hub_that_refuses_is_one_sentence(weights: Path, hub: type[Hub]) -> None:
    hub.error = OSError("401: log in first\nRequest ID 3")
    with pytest.raises(OSError, match=r"^me/pose can't be uploaded: 401: log in first$"):
        push_to_hub(weights, "me/pose")


@pytest.mark.parametrize("name", ["pose", "a/b/c", "/x", "x/", ""])
def test_a_repository_has_an_owner(weights: Path, hub: type[Hub], name: str) -> None:
    with pytest.raises(ValueError, match="give owner/name"):
        push_to_hub(weights, name)
    assert hub.asked == []
