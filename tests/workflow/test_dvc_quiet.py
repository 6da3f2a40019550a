"""What stages print where DVC runs them: with `dvc repro --quiet`, errors alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

ROOT = Path(__file__).parents[2]
STAGE = """
import logging
from types import SimpleNamespace

from rca.cli.app import prepare
from rca.runtime.bars import on_terminal

prepare(SimpleNamespace(invoked_subcommand="crf"), False)
log = logging.getLogger("rca")
log.info("3 of 8")
log.warning("no tags")
log.error("no space")
assert not on_terminal()
"""


@pytest.fixture
def repro(dvc_folder):
    """Run a stage by `dvc repro`; return what it says on both streams."""
    Path("stage.py").write_text(STAGE)
    Path("dvc.yaml").write_text(f"stages:\n  crf: {{cmd: '{sys.executable} stage.py'}}\n")

    def repro(*options: str, **variables: str) -> str:
        unset = {key: value for key, value in os.environ.items() if key != "RCA_QUIET"}
        return subprocess.run(
            [sys.executable, "-m", "dvc", "repro", *options],
            env={**unset, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    return repro


def test_repro__shows_what_stages_say(repro):
    said = repro()
    assert "Running stage 'crf'" in said
    assert all(f"crf: {text}\n" in said for text in ("3 of 8", "no tags", "no space"))


@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_repro_quiet__shows_errors_alone(repro, option):
    said = repro(option)
    assert said.endswith(" crf: no space\n") and said.count("\n") == 1


def test_quiet__by_variable(repro):
    assert "3 of 8" not in repro(RCA_QUIET="1")
