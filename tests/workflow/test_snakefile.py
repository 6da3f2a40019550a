"""What `snakemake --lint` says of the Snakefile: nothing but what decision 2 answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_engines import Copy

pytestmark = pytest.mark.slow  # starts Snakemake

# No rule has an environment of its own: the jobs run in the locked one that started Snakemake, or
# in the image that the site names.
ANSWERED = "Specify a conda environment or container for each rule."


def test_lint__has_nothing_to_say_but_what_the_decision_answers(tmp_path):
    decision = Path(__file__).parents[2] / "docs/decisions/0002-one-dag.md"
    linted = Copy(tmp_path / "lint").run("snakemake --lint")

    assert {*re.findall(r"^ {4}\* (.*?):?$", linted.text, re.MULTILINE)} == {ANSWERED}
    assert ANSWERED in " ".join(decision.read_text(encoding="utf-8").split())
