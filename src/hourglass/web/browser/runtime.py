"""onnxruntime-web, which runs ONNX files in a browser: from npm, its cache here, or a local copy."""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hourglass.data.download.fetch import FetchError, download
from hourglass.data.download.sources import RemoteFile

NAME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package's tarball, as npm tells it (`npm view onnxruntime-web@1.30.0 dist.integrity`)."""
SIZE = 33_106_585

FILES = {
    "ort.js": (
        "dist/ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "ort.wasm": (
        "dist/ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
    "ort_webgpu.js": (
        "dist/ort.webgpu.bundle.min.mjs",
        "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    ),
    "ort_webgpu.wasm": (
        "dist/ort-wasm-simd-threaded.asyncify.wasm",
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
    ),
}
"""What a page needs of the package: its name here (every host knows these kinds), its name there, sha256.

The first two run networks anywhere; the other two on a graphics processor, and are fetched only where one is.
"""
_LARGEST = 64_000_000


class RuntimeUnavailable(ValueError):
    """onnxruntime-web could not be had or is damaged; the message says what to do."""


def runtime_files(
    local: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
    registry: str | None = None,
    cache: Path | None = None,
) -> dict[str, bytes]:
    """The files of `FILES` by their names here, each checked against its checksum.

    Args:
        local: the package's tarball or its unpacked folder; then no connection is opened.
        progress: is told of a download.
        registry: where npm packages are; by default `$NPM_CONFIG_REGISTRY`, else the one that npm is set to.
        cache: folder that keeps the tarball; by default `hourglass` in `$XDG_CACHE_HOME` or `~/.cache`.

    Raises RuntimeUnavailable, naming file or address, when it can't be had, is damaged or another version.
    """
    if local is not None:
        if local.is_dir():
            return _from_folder(local)
        if not local.is_file():
            raise RuntimeUnavailable(f"there is no {local}: give {NAME}'s tarball or its unpacked folder")
        return _from_tarball(local.read_bytes(), str(local))
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hourglass"
    path = folder / f"{NAME}-{VERSION}.tgz"
    if path.is_file():
        content = path.read_bytes()
        if _integrity(content) == INTEGRITY:
            return _from_tarball(content, str(path))
        path.unlink()  # damaged on the disk since it was fetched
    _fetch(path, registry or os.environ.get("NPM_CONFIG_REGISTRY") or _npm_registry(), progress)
    content = path.read_bytes()
    if _integrity(content) != INTEGRITY:
        path.unlink()
        raise RuntimeUnavailable(f"what came as {NAME} {VERSION} doesn't have npm's checksum; {_INSTEAD}")
    return _from_tarball(content, str(path))


_INSTEAD = f"try again, or get the package elsewhere (`npm pack {NAME}@{VERSION}`) and give it with --runtime"


def _npm_registry() -> str:
    """Where this machine's npm gets packages from."""
    try:
        asked = ["npm", "config", "get", "registry"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeUnavailable(
            f"npm does not tell where {NAME} is to be had: install it or set NPM_CONFIG_REGISTRY; {_INSTEAD}"
        ) from error


def _fetch(path: Path, registry: str, progress: Callable[[str], None]) -> None:
    address = f"{registry.rstrip('/')}/{NAME}/-/{NAME}-{VERSION}.tgz"
    if not address.startswith(("https://", "http://")):
        raise RuntimeUnavailable(f"the npm registry {registry!r} is no http address; {_INSTEAD}")
    progress(f"fetching {NAME} {VERSION} ({SIZE / 1e6:.0f} MB) from {registry}")
    file = RemoteFile(path.name, NAME, address, "on npm", size=SIZE)
    last = -1

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal last
        tenth = 10 * done // (total or SIZE)
        if tenth > last:
            last = tenth
            progress(f"{what}: {10 * tenth} %")

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(file, path, tell, registry)
    except FetchError as error:
        raise RuntimeUnavailable(f"{NAME} could not be had: {error}; {_INSTEAD}") from error


def _integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def _from_folder(folder: Path) -> dict[str, bytes]:
    """Of an unpacked package, or of a folder that has it as npm installs it."""
    installed = folder / "node_modules" / NAME
    place = (
        installed if installed.is_dir() else folder / "package" if (folder / "package").is_dir() else folder
    )

    def read(name: str) -> bytes:
        try:
            return (place / name).read_bytes()
        except FileNotFoundError:
            raise RuntimeUnavailable(f"{folder} is no copy of {NAME} {VERSION}: it has no {name}") from None

    return _checked(read, str(folder))


def _from_tarball(content: bytes, where: str) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:

            def read(name: str) -> bytes:
                try:
                    member = archive.getmember(f"package/{name}")
                except KeyError:
                    raise RuntimeUnavailable(f"{where} is no {NAME} {VERSION}: it has no {name}") from None
                file = archive.extractfile(member)
                if file is None or member.size > _LARGEST:
                    raise RuntimeUnavailable(f"{where} is no {NAME} {VERSION}: its {name} is no such file")
                return file.read()

            return _checked(read, where)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise RuntimeUnavailable(f"{where} is cut off, damaged, or no tarball at all; {_INSTEAD}") from error


def _checked(read: Callable[[str], bytes], where: str) -> dict[str, bytes]:
    """The files, if the package says that it is ours and each has its checksum."""
    try:
        said: Any = json.loads(read("package.json"))
        name, version = str(said["name"]), str(said["version"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, RuntimeUnavailable):
            raise
        raise RuntimeUnavailable(f"{where}: its package.json is damaged") from error
    if (name, version) != (NAME, VERSION):
        raise RuntimeUnavailable(f"{where} is {name} {version}; the page was made for {NAME} {VERSION}")
    files = {}
    for here, (there, checksum) in FILES.items():
        files[here] = read(there)
        if hashlib.sha256(files[here]).hexdigest() != checksum:
            raise RuntimeUnavailable(f"{where}: {there} is damaged, or not what npm has as {VERSION}")
    return files
