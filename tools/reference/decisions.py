"""The table of the decisions, from their pages: number, title, status, date."""

from __future__ import annotations

import re
from pathlib import Path

from tools.reference.markdown import table

HEAD = re.compile(r"# (\d+)\. (.+)\n\n\*(\w+), (\d{4}-\d\d-\d\d)(.*)\*\n")


def page(root: Path) -> str:
    """Make the table, with a row for each decision.

    Raises:
        ValueError: A page does not begin with number, title, status and date.
    """
    return table(
        ["", "decision", "status", "date"],
        (_row(file) for file in sorted((root / "docs/decisions").glob("0*.md"))),
    )


def _row(file: Path) -> list[str]:
    head = HEAD.match(file.read_text(encoding="utf-8"))
    if not head:
        raise ValueError(f"{file}: begin with `# 1. Title` and `*Accepted, 2026-11-22*`")
    return [head[1], f"[{head[2]}]({file.name})", head[3].lower(), head[4]]
