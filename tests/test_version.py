"""One version, in pyproject.toml: what `rca --version` prints, installed or from a checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from rca.cli.version import version

ROOT = Path(__file__).parents[1]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_rca__prints_the_version_and_runs_nothing():
    command = [sys.executable, "-m", "rca", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, cwd="/")

    assert (run.returncode, run.stdout, run.stderr) == (
        0,
        f"rca {metadata.version('rca-wsss')}\n",
        "",
    )


def test_version__of_a_checkout_that_is_not_installed_is_that_of_pyproject(monkeypatch):
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)

    assert version() == STATED
