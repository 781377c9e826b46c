"""YAML files that may hold anything."""

from pathlib import Path
from typing import Any

import yaml

from hourglass.data.formats.read_files import check_file


def read_yaml(file: Path) -> Any:
    """The content of a YAML file, plain values only; raises ValueError or FileNotFoundError naming it."""
    check_file(file, "settings")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no readable YAML file: {' '.join(str(error).split())}") from error
