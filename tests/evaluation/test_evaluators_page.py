"""docs/explanation/evaluation.md lists the evaluators as the code has them."""

from __future__ import annotations

from pathlib import Path

from rca.evaluation.evaluators import EVALUATORS


def test_docs__evaluators_are_those_of_the_code():
    page = Path(__file__).parents[2] / "docs/explanation/evaluation.md"
    text = page.read_text(encoding="utf-8")
    _, _, table = text.partition("## Evaluators in use")
    table, _, _ = table.partition("\n## ")
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{e.name}` | {e.where} | {e.uncertain} | {e.mean} |" for e in EVALUATORS]
