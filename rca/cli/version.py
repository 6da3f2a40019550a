"""The version of this package, which pyproject.toml alone states."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path


def version() -> str:
    """Return the installed version, or that of the checkout if nothing is installed.

    The container's image holds the dependencies only, and runs the code of the working folder.
    """
    try:
        return metadata.version("rca-wsss")
    except metadata.PackageNotFoundError:
        pyproject = Path(__file__).parents[2] / "pyproject.toml"
        return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
