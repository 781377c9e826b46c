"""Where weights are found: bundled with the package, a file, a folder, or the Hugging Face hub."""

from importlib import resources
from pathlib import Path

from hourglass.core.files import reason

DEFAULT = "hg2_small_192"
HUB_FILE = "model.safetensors"
_NO_JOINTS = ("people_finder",)
FILE_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".tar", ".onnx", ".xml")


def bundled_weights() -> dict[str, Path]:
    """Name to file of the weights that ship inside the package."""
    folder = Path(str(resources.files("hourglass.weights")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def artifact_of(path: Path) -> Path | None:
    """The ONNX file that runs bundled weights without torch, or None for weights that aren't bundled."""
    artifact = path.with_suffix(".onnx")
    return artifact if path in bundled_weights().values() and artifact.is_file() else None


def bundled_networks() -> list[str]:
    """Names of the bundled networks that find joints, the default first."""
    names = [name for name in bundled_weights() if name not in _NO_JOINTS]
    return sorted(names, key=lambda name: (name != DEFAULT, name))


def resolve(name: str | Path | None = None) -> Path:
    """The file behind a name: bundled, a file, a folder with one safetensors file, or a hub id.

    A hub id has the form `owner/repository`, optionally `owner/repository@revision`, and its
    `model.safetensors` is downloaded into the hub's own cache. None is the default bundled network.

    Raises FileNotFoundError, in one sentence, when there is nothing behind the name.
    """
    known = bundled_weights()
    if name is None:
        name = DEFAULT
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if len(found) > 1 and path / "best.safetensors" in found:
            return path / "best.safetensors"
        if len(found) != 1:
            raise FileNotFoundError(f"{path} holds {len(found)} safetensors files; name one of them")
        return found[0]
    if isinstance(name, str) and _may_be_hub_id(name):
        return _from_hub(name)
    raise FileNotFoundError(
        f"there are no weights {str(name)!r}: give a file, a folder, a hub id (owner/name) "
        f"or one of {', '.join(known) or 'no bundled weights'}"
    )


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when the hub refuses or can't be reached."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Its base is the network library's own error, which a broken connection raises as it is.
    return (*HfHubHTTPError.__bases__, HFValidationError, OSError)


def _may_be_hub_id(name: str) -> bool:
    """`owner/repository`; a mistyped file name need not wait for the hub's answer."""
    repository = name.partition("@")[0]
    return repository.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith(FILE_SUFFIXES)


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(repository, HUB_FILE, revision=revision or None))
    except hub_errors() as error:
        raise FileNotFoundError(
            f"the weights {name!r} are no file here and can't be had from the hub: "
            f"{reason(error, first_line=True)}"
        ) from error
