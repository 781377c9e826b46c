"""Write the ONNX file beside each bundled weight file that has none of it: python tools/make_artifacts.py

It needs the extra `export` and takes a few minutes a network. A file that answers otherwise than torch is not
kept. Options are passed on to `hourglass export`, such as --check PHOTOS.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from hourglass.engines import onnx_file
from hourglass.engines.entry import EngineError
from hourglass.weights.published import bundled_weights


def made_from(artifact: Path) -> str:
    """The sha256 of the weights that a file was made from; empty where there is none that can be read."""
    try:
        model, _, _ = onnx_file.read(artifact)
    except EngineError:
        return ""
    return onnx_file.metadata(model).get("weights_sha256", "")


def main() -> None:
    """Make what is missing or old, and delete what has no weights any more."""
    known = bundled_weights()
    folder = next(iter(known.values())).parent
    for orphan in set(folder.glob("*.onnx")) - {path.with_suffix(".onnx") for path in known.values()}:
        orphan.unlink()
        print(f"{orphan.name} deleted: there are no such weights")
    for name, weights in known.items():
        artifact = weights.with_suffix(".onnx")
        if made_from(artifact) == hashlib.sha256(weights.read_bytes()).hexdigest():
            print(f"{artifact.name} is of {weights.name}")
            continue
        words = ["-m", "hourglass", "export", name, "--to", "onnx", "--half", "--out", str(artifact)]
        subprocess.run([sys.executable, *words, *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
