"""The record of a campaign, and the record as tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from rca.runtime.text_table import aligned

PAGE = Path("docs/explanation/faults.md")
RECORD = Path("benchmarks/results/faults.json")
WELL = {"identical", "refused", "taken; DVC notices", "taken; vouched for"}


class Row(NamedTuple):
    """A finished trial."""

    group: str
    number: int
    kind: str
    stage: str
    how: str
    outcome: str
    text: str


def table(rows: list[Row]) -> dict[str, dict[str, dict[str, int]]]:
    """Count the outcomes: group → kind → outcome → number of trials."""
    tables: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        counts = Counter(tables.setdefault(row.group, {}).setdefault(row.kind, {}))
        tables[row.group][row.kind] = dict(counts + Counter([row.outcome]))
    return tables


def printed(tables: dict[str, dict[str, dict[str, int]]]) -> str:
    """Render the tables as plain text."""
    rows = []
    for group, kinds in tables.items():
        rows.append((f"{group}:", ""))
        for kind, counts in kinds.items():
            told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
            rows.append((f"  {kind}", told))
    return aligned(rows, left=2)


def page_table(tables: dict[str, dict[str, dict[str, int]]]) -> str:
    """Render the tables as one Markdown table, with a row for each kind."""
    words = [*sorted(WELL), "wrong"]
    lines = [f"| fault | {' | '.join(words)} |", "|---|" + "---:|" * len(words)]
    for group, kinds in tables.items():
        for kind, counts in kinds.items():
            wrong = sum(count for word, count in counts.items() if word not in WELL)
            cells = [str(counts.get(word, 0)) for word in words[:-1]] + [str(wrong)]
            lines.append(f"| {group}: {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def record(rows: list[Row], seed: int, begun: dict[str, Any]) -> dict[str, Any]:
    """Build the record: the tables, the stages that were hit, and each trial that went wrong.

    Args:
        rows: The trials.
        seed: The seed that they drew from.
        begun: The commit and machine at the start of the campaign, before it writes into the
            checkout.
    """
    return {
        "protocol": "debug preset, a checkpoint at every step; stages in forked processes, engines "
        "by their commands; `identical`: the bytes of the undisturbed run, after one more run "
        "where the disturbed one had not ended well; `refused`: one line, exit status 2, nothing "
        "written; `taken; DVC notices`: the stage took a changed file, dvc status names it; "
        "`taken; vouched for`: an archive whose own SHA-256 params.yaml names",
        "seed": seed,
        "trials": len(rows),
        **begun,
        "tables": table(rows),
        "stages": dict(sorted(Counter(row.stage for row in rows).items())),
        "wrong": [row._asdict() for row in rows if row.outcome not in WELL],
    }
